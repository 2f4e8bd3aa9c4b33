"""Reads recurrent models from other places into a `Network`.

trained                 our own trained-model folder
keras_files             `.keras` and `.h5` of Keras 2 and 3
keras_saved_model       Keras 2's SavedModel folder
"""

from edgeseq_converters.importers.read import read_network, reads

__all__ = ["read_network", "reads"]
