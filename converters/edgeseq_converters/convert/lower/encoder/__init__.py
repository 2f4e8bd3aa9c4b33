"""Encoders of the BERT family as TFLite operators."""
