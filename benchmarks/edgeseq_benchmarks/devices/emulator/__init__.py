"""Boards in QEMU: a 64-bit ARM Debian, built from Debian's packages, started when needed."""
