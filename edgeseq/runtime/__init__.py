"""A bundle's model and tokenizer in a TFLite runtime, the same for conversion checks, bench and
predict."""
