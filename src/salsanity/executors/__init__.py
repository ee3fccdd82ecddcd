"""Where units run: here, or elsewhere."""
