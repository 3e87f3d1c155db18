"""Whole files in, a frozen report out.

Each operation is a function of :mod:`carv2` and a command of the same name; the modules here hold them, with the
types of their reports. Nothing is imported here, so that a command loads just its own operation.
"""
