"""The native process: its C sources, how they are compiled, and the library that it loads."""
