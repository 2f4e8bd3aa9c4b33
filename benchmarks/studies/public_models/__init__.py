"""Other people's recurrent models: what converts, how exactly, and why the rest does not.

Run from a checkout; nothing of it is installed with the package, and no model is kept here.
"""
