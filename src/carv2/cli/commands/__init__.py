"""The commands, one module each: see :mod:`carv2.cli.registry`."""
