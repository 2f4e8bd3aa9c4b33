"""Native processes on a board that has no Python: sent there, started and limited over ssh."""
