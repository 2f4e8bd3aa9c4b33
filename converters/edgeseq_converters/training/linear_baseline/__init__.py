"""Linear models that do not ship: what is reached without a neural network."""
