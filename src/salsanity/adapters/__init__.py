"""Other libraries' explainers as methods; each is found by an entry point and imported by nobody."""
