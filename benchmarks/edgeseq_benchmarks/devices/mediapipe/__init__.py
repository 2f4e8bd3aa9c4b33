"""The benchmark in MediaPipe Tasks: the export of a bundle, in its Python package here."""
