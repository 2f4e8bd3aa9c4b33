"""Reads recurrent models of Keras 2 and Keras 3, without importing Keras."""
