"""Positional references: archives whose leaves stay where they are, in other people's files (ref-CARv2)."""
