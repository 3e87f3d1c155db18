"""``python -m carv2``: the command line."""

from __future__ import annotations

from carv2.cli.start import entry

if __name__ == "__main__":
    entry()
