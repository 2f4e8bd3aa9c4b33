"""Data sets: what they hold, where each comes from, and readers for the usual file formats."""
