"""Intervals, latency percentiles, paired tests and classification metrics."""
