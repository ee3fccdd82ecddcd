"""A classifier of handwritten digits, and how it explains itself."""
