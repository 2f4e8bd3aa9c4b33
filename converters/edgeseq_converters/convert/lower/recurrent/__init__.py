"""Recurrent networks as TFLite operators: three lowerings of the same weights.

`loop` runs over the real length of a text, `unrolled` writes out a fixed number of steps, `fused`
uses the runtime's LSTM operator. `build` chooses; `layers` holds what is the same in all of them
(embedding, dense layers, pooling); `weights` stores arrays as a recipe says.
"""
