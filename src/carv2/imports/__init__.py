"""Imports by reference and retrievals: what a client of storage deals keeps, and where."""
