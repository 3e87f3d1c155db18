"""Files and directories as DAGs: import, reading, extraction."""

from carv2.unixfs._walk import Missing
from carv2.unixfs.entry import Entry, list_directory, resolve, walk_entries
from carv2.unixfs.file import open_file, read
from carv2.unixfs.stream import StreamedBlock, StreamVerifier, averify_stream, form_of, verify_stream

__all__ = [
    "Entry",
    "Missing",
    "StreamVerifier",
    "StreamedBlock",
    "averify_stream",
    "form_of",
    "list_directory",
    "open_file",
    "read",
    "resolve",
    "verify_stream",
    "walk_entries",
]
