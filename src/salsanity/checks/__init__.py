"""What is run: a spec becomes a plan of units, and each unit becomes scores."""
