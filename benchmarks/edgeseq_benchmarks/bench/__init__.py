"""Measures bundles: runner, stages, the measured worker process, limits, probes, validity."""
