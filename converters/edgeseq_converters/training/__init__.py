"""Training on the workstation: fine-tuning a BERT, distilling an LSTM from it."""
