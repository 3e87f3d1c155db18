"""Content-addressed archives (CARv1, CARv2): read, write, index, verify, repair.

>>> import carv2
>>> blocks = [carv2.Block(carv2.CID.of_data(b"fish"), b"fish")]
>>> archive = b"".join(carv2.iter_car([blocks[0].cid], blocks))
>>> with carv2.open(archive) as car:
...     car.version, [block.data for block in car]
(1, [b'fish'])
"""

from __future__ import annotations

TYPE_CHECKING = False  # for those who check types: `typing` itself takes 5 ms to import

if TYPE_CHECKING:
    from carv2.cid import CID
    from carv2.decoder import CarDecoder, aiter_blocks, iter_blocks
    from carv2.errors import BlockNotFoundError, CarError, FormatError, IntegrityError
    from carv2.header import CarV1Header, CarV2Header
    from carv2.operations.concat import concat
    from carv2.operations.diff import diff
    from carv2.operations.explain import explain
    from carv2.operations.filter import filter_blocks
    from carv2.operations.indexing import attach_index, build_index, detach_index, reindex
    from carv2.operations.inspect import inspect
    from carv2.operations.roots import replace_roots
    from carv2.operations.salvage import salvage
    from carv2.operations.split import split
    from carv2.operations.verify import verify
    from carv2.operations.wrap import unwrap, wrap
    from carv2.reader import CarReader, open, read_version  # noqa: A004
    from carv2.section import Block, Section
    from carv2.units import Limits
    from carv2.writer import CarWriter, create, iter_car

# Names come in when they are first used: `import carv2` costs next to nothing (docs/design/0001-layers.md).
_HOMES = {
    "CID": "cid",
    "Block": "section",
    "BlockNotFoundError": "errors",
    "CarDecoder": "decoder",
    "CarError": "errors",
    "CarReader": "reader",
    "CarV1Header": "header",
    "CarV2Header": "header",
    "CarWriter": "writer",
    "FormatError": "errors",
    "IntegrityError": "errors",
    "Limits": "units",
    "Section": "section",
    "aiter_blocks": "decoder",
    "attach_index": "operations.indexing",
    "build_index": "operations.indexing",
    "concat": "operations.concat",
    "create": "writer",
    "detach_index": "operations.indexing",
    "diff": "operations.diff",
    "explain": "operations.explain",
    "filter_blocks": "operations.filter",
    "inspect": "operations.inspect",
    "iter_blocks": "decoder",
    "iter_car": "writer",
    "open": "reader",
    "read_version": "reader",
    "reindex": "operations.indexing",
    "replace_roots": "operations.roots",
    "salvage": "operations.salvage",
    "split": "operations.split",
    "unwrap": "operations.wrap",
    "verify": "operations.verify",
    "wrap": "operations.wrap",
}
_SUBMODULES = {
    "blockstore",
    "codec",
    "dag",
    "dagstore",
    "errors",
    "filestore",
    "imports",
    "index",
    "operations",
    "testing",
    "unixfs",
}

__all__ = [  # spelled out, for readers and type checkers
    "CID",
    "Block",
    "BlockNotFoundError",
    "CarDecoder",
    "CarError",
    "CarReader",
    "CarV1Header",
    "CarV2Header",
    "CarWriter",
    "FormatError",
    "IntegrityError",
    "Limits",
    "Section",
    "aiter_blocks",
    "attach_index",
    "build_index",
    "concat",
    "create",
    "detach_index",
    "diff",
    "explain",
    "filter_blocks",
    "inspect",
    "iter_blocks",
    "iter_car",
    "open",
    "read_version",
    "reindex",
    "replace_roots",
    "salvage",
    "split",
    "unwrap",
    "verify",
    "wrap",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    import importlib  # noqa: PLC0415

    if name in _SUBMODULES:
        return importlib.import_module(f"carv2.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'carv2' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"carv2.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
