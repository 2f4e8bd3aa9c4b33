"""What each task is: its examples, encoding, decoding and metric. `registry` is the only table of
tasks."""
