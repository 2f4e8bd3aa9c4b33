"""Writes .tflite files operator by operator.

Why not TensorFlow's converter for recurrent networks: it decides by itself how a loop, a gate and
a weight become operators, crashes on an integer loop, knows no rows of a table with a scale each,
clips the cells of its fused LSTM at 10, and takes seconds and hundreds of megabytes. What is
written here is exactly what a lowering says, for the runtime that it names, in a tenth of a second.

`model` holds graphs, tensors and the packing into a flatbuffer; `operators` one function for each
operator that a lowering needs, with its shape rule and its version.
"""
