"""Our files against what other tools make of the same weights: see README.md here.

Run from a checkout; nothing of it is installed with the package.
"""
