"""Reads recurrent models from other places into a `Network`.

    trained             our own trained-model folder
    keras_files         `.keras` and `.h5` of Keras 2 and 3
    keras_saved_model   Keras 2's SavedModel folder
    torch_program       an exported PyTorch module, `.pt2`
    torch_state         PyTorch weights with a description of their layers

None of them imports Keras or runs anything of a file.
"""
