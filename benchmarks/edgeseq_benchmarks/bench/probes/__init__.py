"""What the measured process observes: memory, time, energy, operators, the machine."""
