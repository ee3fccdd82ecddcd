"""Where finished units lie."""
