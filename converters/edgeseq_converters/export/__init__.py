"""Exports of bundles to runtimes that others wrote, one module per target."""
