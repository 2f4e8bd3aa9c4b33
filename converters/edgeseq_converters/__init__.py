"""The workstation half: training, distillation, conversion to TFLite and its checks."""

import os

# TensorFlow reads this when it is imported, and by itself says yes only to processors with
# AVX-512 VNNI; with AVX2 alone fine-tuning MiniLM was a tenth faster with it, too, measured on a
# busy machine (decision 15).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
