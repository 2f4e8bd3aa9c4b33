"""Reads encoder checkpoints in Hugging Face's format."""
