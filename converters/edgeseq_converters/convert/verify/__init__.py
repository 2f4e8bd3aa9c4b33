"""Checks of a converted file: its structure, its fidelity to the float model, older runtimes."""
