"""Positional references: archives whose leaves stay where they are, in other people's files (ref-CARv2)."""

from carv2.filestore._writing import ReferenceWriter
from carv2.filestore.importing import ReferenceReport, import_by_reference
from carv2.filestore.keys import VARIANTS, Variant, key_cid, key_string
from carv2.filestore.record import FileReference
from carv2.filestore.status import Status

__all__ = [
    "VARIANTS",
    "FileReference",
    "ReferenceReport",
    "ReferenceWriter",
    "Status",
    "Variant",
    "import_by_reference",
    "key_cid",
    "key_string",
]
