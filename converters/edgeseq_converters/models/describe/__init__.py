"""Tells the layers of weights without layers by the names and shapes of the arrays."""
