"""Files and directories as DAGs: import, reading, extraction."""

from carv2.unixfs._walk import Missing
from carv2.unixfs.entry import Entry, list_directory, resolve, walk_entries

__all__ = ["Entry", "Missing", "list_directory", "resolve", "walk_entries"]
