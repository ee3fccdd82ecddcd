"""What defines a unit of work, and doing it."""
