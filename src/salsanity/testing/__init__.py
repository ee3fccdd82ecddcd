"""Contracts that a third party's method, similarity or executor can be tested against."""
