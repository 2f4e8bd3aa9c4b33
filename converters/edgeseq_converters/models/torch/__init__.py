"""Reads recurrent models of PyTorch: exported programs and described state dicts."""
