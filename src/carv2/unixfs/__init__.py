"""Files and directories as DAGs: import, reading, extraction."""

from carv2.unixfs._walk import Missing
from carv2.unixfs.entry import Entry, Link, list_directory, list_links, resolve, walk_entries
from carv2.unixfs.file import open_file, read
from carv2.unixfs.importing import ImportReport, SkippedFile, import_file, import_tree
from carv2.unixfs.packing import pack
from carv2.unixfs.profiles import DEFAULT_PROFILE, PROFILES, ImportProfile, profile_of
from carv2.unixfs.stream import StreamedBlock, StreamVerifier, averify_stream, form_of, verify_stream

__all__ = [
    "DEFAULT_PROFILE",
    "PROFILES",
    "Entry",
    "ImportProfile",
    "ImportReport",
    "Link",
    "Missing",
    "SkippedFile",
    "StreamVerifier",
    "StreamedBlock",
    "averify_stream",
    "form_of",
    "import_file",
    "import_tree",
    "list_directory",
    "list_links",
    "open_file",
    "pack",
    "profile_of",
    "read",
    "resolve",
    "verify_stream",
    "walk_entries",
]
