"""Experiments behind the published figures; not part of the wheel."""
