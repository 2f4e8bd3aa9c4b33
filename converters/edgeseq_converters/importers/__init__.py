"""Reads recurrent models from other places into a `Network`."""
