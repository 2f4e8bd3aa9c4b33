"""The device half: runs bundles through a TFLite runtime and measures them.

Importing the package loads no runtime; only the measured process does.
"""
