"""Suites: a whole comparison described in one file, run step by step, resumed where it stopped."""
