"""Training the networks that the data randomisation test compares."""
