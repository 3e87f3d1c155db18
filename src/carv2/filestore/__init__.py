"""Positional references: archives whose leaves stay where they are, in other people's files (ref-CARv2)."""

from carv2.filestore._archive import is_ref_car
from carv2.filestore._writing import ReferenceWriter
from carv2.filestore.checking import ReferencesReport, check_references, verify_references
from carv2.filestore.densify import Densified, densify
from carv2.filestore.importing import ReferenceReport, import_by_reference
from carv2.filestore.keys import VARIANTS, Variant, key_cid, key_string
from carv2.filestore.record import FileReference, decode, encode
from carv2.filestore.refer import Referred, refer
from carv2.filestore.relocate import Relocated, relocate
from carv2.filestore.status import ReferenceStatus, Status
from carv2.filestore.store import FileStore

__all__ = [
    "VARIANTS",
    "Densified",
    "FileReference",
    "FileStore",
    "ReferenceReport",
    "ReferenceStatus",
    "ReferenceWriter",
    "ReferencesReport",
    "Referred",
    "Relocated",
    "Status",
    "Variant",
    "check_references",
    "decode",
    "densify",
    "encode",
    "import_by_reference",
    "is_ref_car",
    "key_cid",
    "key_string",
    "refer",
    "relocate",
    "verify_references",
]
