"""Files and directories as DAGs: import, reading, extraction."""

from carv2.unixfs._walk import Missing
from carv2.unixfs.entry import Entry, list_directory, resolve, walk_entries
from carv2.unixfs.file import open_file, read

__all__ = ["Entry", "Missing", "list_directory", "open_file", "read", "resolve", "walk_entries"]
