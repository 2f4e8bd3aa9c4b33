"""Models run under hard memory and CPU limits."""
