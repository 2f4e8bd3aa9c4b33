"""Run a bundle's model and tokenizer, the same for conversion checks, bench and predict."""

PADDING_ID = -1
"""The token id that fills up the input of a fixed-length model (`bundle_manifest.Signature`)."""
