"""Reads recurrent networks out of ONNX files, without running them."""
