"""Files and directories as DAGs: import, reading, extraction."""

from carv2.unixfs._safe_walk import Skipped
from carv2.unixfs._walk import Missing
from carv2.unixfs.diff import PathChange, diff_paths
from carv2.unixfs.entry import Entry, Link, list_directory, list_links, resolve, walk_entries
from carv2.unixfs.extraction import ExtractReport, extract
from carv2.unixfs.file import open_file, read
from carv2.unixfs.guessing import Guess, guess_profile
from carv2.unixfs.importing import ImportReport, SkippedFile, import_file, import_tree
from carv2.unixfs.names import check_name
from carv2.unixfs.packing import pack
from carv2.unixfs.profiles import DEFAULT_PROFILE, PROFILES, ImportProfile, profile_of
from carv2.unixfs.serving import RequestedBlock, path_roots, request_blocks
from carv2.unixfs.stream import StreamedBlock, StreamVerifier, averify_stream, form_of, verify_stream
from carv2.unixfs.streams import payload_stream
from carv2.unixfs.tar import tar_stream

__all__ = [
    "DEFAULT_PROFILE",
    "PROFILES",
    "Entry",
    "ExtractReport",
    "Guess",
    "ImportProfile",
    "ImportReport",
    "Link",
    "Missing",
    "PathChange",
    "RequestedBlock",
    "Skipped",
    "SkippedFile",
    "StreamVerifier",
    "StreamedBlock",
    "averify_stream",
    "check_name",
    "diff_paths",
    "extract",
    "form_of",
    "guess_profile",
    "import_file",
    "import_tree",
    "list_directory",
    "list_links",
    "open_file",
    "pack",
    "path_roots",
    "payload_stream",
    "profile_of",
    "read",
    "request_blocks",
    "resolve",
    "tar_stream",
    "verify_stream",
    "walk_entries",
]
