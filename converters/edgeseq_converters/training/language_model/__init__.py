"""Next-word language models: an LSTM that streams, and a causal transformer to hold against it."""
