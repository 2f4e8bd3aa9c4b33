"""The benchmark in a browser, which opens a page that this program serves."""
