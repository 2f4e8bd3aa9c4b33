"""Models in a web browser: a server for an exported page, and a browser without a window."""
