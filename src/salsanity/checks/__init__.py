"""What is compared: each check is a value in a file of its own."""
