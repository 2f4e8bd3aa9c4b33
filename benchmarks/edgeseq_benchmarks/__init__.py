"""The device half: loads bundles through a TFLite runtime and measures them."""
