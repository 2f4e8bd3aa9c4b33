"""MediaPipe Tasks in Python, for exports that it runs: in a child process, without edgeseq."""
