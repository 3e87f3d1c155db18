"""Files that come in piece by piece and may be gone on with: partial downloads."""
