"""A benchmark on a device with a Python: sent there, started, followed, fetched, removed."""
