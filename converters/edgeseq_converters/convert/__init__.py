"""Conversion of a model to TFLite: load, plan, lower, quantize, verify, write."""
