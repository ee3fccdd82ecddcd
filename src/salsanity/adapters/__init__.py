"""Explainers of other libraries as methods: each library is imported in one module, found by the entry point of its name."""
