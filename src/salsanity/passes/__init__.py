"""Symbolic passes, and the runner that executes each distinct one once."""
