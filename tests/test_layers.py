"""The architecture as a test: who may import whom, and how large a room may get."""

from __future__ import annotations

import ast
import functools
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src" / "carv2"

LAYERS = [  # a module imports from the lines above its own, and from its own
    {"errors", "units", "_seen"},
    {"_varint", "_multibase", "multicodec", "multihash", "cid", "_cbor", "header"},
    {"index", "codec"},
    {
        "_source",
        "_atomic",
        "_room",
        "_locks",
        "_storefile",
        "_tree",
        "_folder",
        "_originals",
        "_private",
        "_sqlite",
        "_downloads",
    },
    {"_ahead", "_scan", "section", "_blocks", "_finder", "decoder", "reader", "writer"},
    {"operations"},
    {"blockstore"},
    {"dag", "unixfs"},
    {"filestore", "pictures"},
    {"imports"},
    {"dagstore"},
    {"ipfs", "rpc"},
    {"__init__"},
    {"cli", "__main__"},
    {"testing"},  # beside the others: may import them all, and nothing imports it
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(ROOT.rglob("*.py"))

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 40
MAX_MEDIAN_FUNCTION = 8


def top(dotted: str) -> str:
    """The first name below carv2; ``carv2`` itself is its ``__init__``."""
    return f"{dotted}.__init__".split(".")[1]


def carv2_imports(path: Path) -> set[str]:
    """First component, below carv2, of every carv2 module that ``path`` imports at run time."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for inner in ast.walk(node):
                inner.only_for_types = True  # type: ignore[attr-defined]
        if getattr(node, "only_for_types", False):
            continue
        if isinstance(node, ast.Import):
            found |= {
                top(alias.name) for alias in node.names if top(alias.name) and alias.name.startswith("carv2")
            }
        elif isinstance(node, ast.ImportFrom) and node.module == "carv2":
            found |= {alias.name if alias.name in LEVEL else "__init__" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("carv2."):
            found.add(top(node.module or ""))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_nothing_from_a_layer_above(path: Path) -> None:
    module = path.relative_to(ROOT).parts[0].removesuffix(".py")
    above = {name for name in carv2_imports(path) if LEVEL[name] > LEVEL[module]}
    assert not above, f"{path.relative_to(ROOT)} imports {sorted(above)}"


def test_every_module_has_a_layer() -> None:
    names = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in FILES}
    assert names == set(LEVEL)


def test_only_layer_3_and_the_command_line_touch_files() -> None:
    allowed = LAYERS[3] | {"cli"}
    for path in FILES:
        module = path.relative_to(ROOT).parts[0].removesuffix(".py")
        calls = {
            ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
        }
        touching = calls & {"open", "os.open", "os.pread", "os.replace", "os.unlink", "os.rename", "os.fsync"}
        assert module in allowed or not touching, f"{path.relative_to(ROOT)} calls {touching}"


def test_only_the_command_line_prints_exits_or_reads_the_environment() -> None:
    for path in FILES:
        if path.relative_to(ROOT).parts[0] in {"cli", "__main__.py"}:
            continue
        names = {
            ast.unparse(node)
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, (ast.Attribute, ast.Name))
        }
        assert not names & {"print", "os.environ", "os.getenv", "sys.exit", "sys.stdout", "sys.argv"}, path


@functools.cache
def code_lines(path: Path) -> set[int]:
    """Numbers of the lines that hold code: no blanks, no comments, no docstrings."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        line
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node) is not None
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    skip = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    with path.open("rb") as file:
        tokens = [token for token in tokenize.tokenize(file.readline) if token.type not in skip]
    lines = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    return lines - docstrings


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_stay_small(path: Path) -> None:
    lines = code_lines(path)
    assert len(lines) <= MAX_MODULE_LINES
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = lines & set(range(node.lineno, (node.end_lineno or 0) + 1))
            assert len(body) <= MAX_FUNCTION_LINES, f"{node.name} has {len(body)} lines"


def test_the_median_function_is_short() -> None:
    sizes = sorted(
        len(code_lines(path) & set(range(node.lineno, (node.end_lineno or 0) + 1)))
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    )
    assert sizes[len(sizes) // 2] <= MAX_MEDIAN_FUNCTION
