"""Codecs: what a block links to, and what it holds."""
