"""The workstation half: training, distillation, conversion to TFLite and its checks."""
