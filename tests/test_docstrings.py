"""What every public name's documentation has: an example that runs, the errors that are raised, units of sizes."""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import re
import sys
import textwrap
from typing import Any

import pytest

import carv2.errors

MODULES = (
    "carv2",
    "carv2.blockstore",
    "carv2.codec",
    "carv2.dag",
    "carv2.dagstore",
    "carv2.dagstore.survey",
    "carv2.filestore",
    "carv2.imports",
    "carv2.index",
    "carv2.ipfs",
    "carv2.operations.patch",
    "carv2.pictures",
    "carv2.rpc",
    "carv2.testing",
    "carv2.unixfs",
)
WITHOUT_EXAMPLE = {
    "Index": "the base of the two formats, made by parse",
    "MultihashSortedIndex": "made by parse",
    "Selector": "the base of all forms, made by parse_selector",
    "fetch": "asks gateways; docs/how-to/fetch-from-a-gateway.md runs it against one",
    **dict.fromkeys(
        ("BlockstoreTests", "CatalogueTests", "IndexStoreTests", "MountTests", "WritableBlockstoreTests"),
        "a suite of tests to derive from",
    ),
}
OF_OUR_OWN = {
    "carv2.blockstore": {"_recovery", "asynchronous", "cache", "examine", "memory", "protocols", "union"},
    "carv2.dag": {"graphviz", "statistics"},
    "carv2.dagstore": {
        *("asynchronous", "collection", "doctor", "events", "global_store", "info", "mounts.folder"),
        *("mounts.inline", "mounts.remote", "shard", "survey"),
    },
    "carv2.errors": {""},
    "carv2.filestore": {"_writing", "checking", "densify", "importing", "refer", "relocate"},
    "carv2.imports": {"_damage", "_retrieval_files", "retrieval", "retrievals"},
    "carv2.index": {"_bucket"},
    "carv2.operations": {"diff", "patch"},
    "carv2.pictures": {"map", "model", "report"},
    "carv2.rpc": {"limits"},
    "carv2.testing": {"blockstores", "catalogues", "faulty_mount", "index_stores", "mounts"},
    "carv2.unixfs": {"_safe_walk", "diff", "guessing"},
}
"""Modules that follow no rule of others: what they do is carv2's own, or that of the modules which they use."""
OUR_ERRORS = {name: value for name, value in vars(carv2.errors).items() if inspect.isclass(value)}
BUILT_IN = {"ValueError": ValueError, "OSError": OSError, "FileExistsError": FileExistsError, "KeyError": KeyError}
ERRORS: dict[str, type] = {**BUILT_IN, **OUR_ERRORS}
MEANT_FOR_ITS_AUTHOR = {"ClosedError"}  # of every method of a thing that was closed; it stands with the thing


def public() -> dict[str, Any]:
    """Classes and functions by their full names."""
    found: dict[str, Any] = {}
    for module in MODULES:
        for name in importlib.import_module(module).__all__:
            value = getattr(importlib.import_module(module), name)
            if inspect.isclass(value) or inspect.isfunction(value):
                found[f"{module}.{name}"] = value
    return found


PUBLIC = public()


def is_plain(value: Any) -> bool:
    """A record, an error, an enumeration or a protocol: what it is like is said by its fields."""
    if not inspect.isclass(value):
        return False
    is_record = hasattr(value, "__dataclass_fields__") or hasattr(value, "_fields")
    return is_record or issubclass(value, (BaseException, enum.Enum)) or getattr(value, "_is_protocol", False)


def texts(value: Any) -> str:
    """The documentation of a function; of a class also that of its methods."""
    own = value.__doc__ or ""
    if not inspect.isclass(value):
        return own
    members = [getattr(member, "__func__", member) for member in vars(value).values()]
    return own + "".join(
        str(member.__doc__ or "") for member in members if callable(member) or isinstance(member, property)
    )


@pytest.mark.parametrize("name", PUBLIC)
def test_it_has_an_example_that_runs(name: str) -> None:
    value = PUBLIC[name]
    if not is_plain(value) and value.__name__ not in WITHOUT_EXAMPLE:
        assert ">>> " in texts(value), f"{name} has no example"


def test_none_is_excused_that_has_one() -> None:
    excused = [value for value in PUBLIC.values() if value.__name__ in WITHOUT_EXAMPLE]
    assert {value.__name__ for value in excused} == set(WITHOUT_EXAMPLE)
    assert not [value for value in excused if ">>> " in (value.__doc__ or "")]


def functions() -> dict[str, Any]:
    """Public functions, and the public methods of public classes."""
    found: dict[str, Any] = {}
    for name, value in PUBLIC.items():
        if inspect.isfunction(value):
            found[name] = value
            continue
        for key, member in vars(value).items():
            plain = getattr(member, "fget", None) or getattr(member, "__func__", member)
            if inspect.isfunction(plain) and (not key.startswith("_") or key == "__init__"):
                found[f"{name}.{key}"] = plain
    return found


FUNCTIONS = functions()


def raised(function: Any) -> set[str]:
    """The errors that its own statements raise, outside of functions within it."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return set()
    found: set[str] = set()
    todo: list[ast.AST] = [*getattr(tree.body[0], "body", [])]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            found.add(node.exc.func.id)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            todo += ast.iter_child_nodes(node)
    return (found & set(ERRORS)) - MEANT_FOR_ITS_AUTHOR


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if raised(FUNCTIONS[name])])
def test_errors_that_it_raises_are_told(name: str) -> None:
    function = FUNCTIONS[name]
    text = (function.__doc__ or "") + (
        PUBLIC.get(name.rpartition(".")[0]).__doc__ or "" if name not in PUBLIC else ""
    )
    told = [ERRORS[word] for word in re.findall(r"\b[A-Z]\w+(?:Error|Exceeded)\b", text) if word in ERRORS]
    for error in raised(function):
        assert any(issubclass(ERRORS[error], each) for each in told), f"{name} raises {error} and does not say so"


def numbers(function: Any) -> list[str]:
    """The parameters that hold an amount."""
    parameters = inspect.signature(function).parameters.values()
    amounts = [one for one in parameters if re.search(r"size|timeout|max_|_limit|padding", one.name)]
    return [one.name for one in amounts if re.search(r"\bint\b|\bfloat\b", str(one.annotation))]


@pytest.mark.parametrize(
    "name", [name for name, value in PUBLIC.items() if inspect.isfunction(value) and numbers(value)]
)
def test_amounts_have_units(name: str) -> None:
    """Bytes, seconds, blocks; or the parameters are said to be those of another name."""
    function = PUBLIC[name]
    text = function.__doc__ or ""
    if re.search(r"[Aa]s in :|[Tt]he same |whose arguments these are|:func:`carv2.verify` and", text):
        return
    for key in numbers(function):
        said = re.search(rf"\b{key}: (.+?)(?=\n\s+\w+: |\n\n|\Z)", text, re.DOTALL)
        words = said[1] if said else text if f"``{key}``" in text else ""
        assert re.search(r"byte|second|block|entr|shard|CID|director|link|step|character", words), f"{name}: {key}"


def has_source(name: str) -> bool:
    """Whether the text of a public name, or of its module, says whose rules it follows."""
    module = sys.modules[PUBLIC[name].__module__].__doc__ or ""
    return (
        re.search(r"\b[Ss]ources?\b.*: |specification|\bRFC \d|IPIP-\d", module + texts(PUBLIC[name])) is not None
    )


def is_of_our_own(module: str) -> bool:
    package = ".".join(module.split(".")[:2])
    return module.removeprefix(package).removeprefix(".") in OF_OUR_OWN.get(package, ())


@pytest.mark.parametrize("name", [name for name in PUBLIC if not is_of_our_own(PUBLIC[name].__module__)])
def test_the_source_of_the_rules_is_named(name: str) -> None:
    assert has_source(name)


def test_what_is_said_to_be_of_our_own_is_there() -> None:
    there = {value.__module__ for value in PUBLIC.values()}
    listed = {f"{package}.{name}".rstrip(".") for package, names in OF_OUR_OWN.items() for name in names}
    assert listed <= there
