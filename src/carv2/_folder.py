"""A folder that is written to, and nothing outside of it."""
