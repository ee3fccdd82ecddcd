"""Where images and labels come from, one item at a time."""
