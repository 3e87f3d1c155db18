"""Imports by reference and retrievals: what a client of storage deals keeps, and where."""

from carv2.imports._damage import RetrievalCheck
from carv2.imports._retrieval_files import RetrievalRecord
from carv2.imports.lotus import Loaded
from carv2.imports.manager import ImportsManager
from carv2.imports.record import Import
from carv2.imports.retrieval import Received, Retrieval
from carv2.imports.retrievals import Retrievals
from carv2.imports.sanity import Problem, SanityReport

__all__ = [
    "Import",
    "ImportsManager",
    "Loaded",
    "Problem",
    "Received",
    "Retrieval",
    "RetrievalCheck",
    "RetrievalRecord",
    "Retrievals",
    "SanityReport",
]
