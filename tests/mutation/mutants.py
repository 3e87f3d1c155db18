"""The small wrong changes that mutation testing makes in a module: where each is, and the source with it.

The kinds of change are mutmut's own (its ``mutation_operators``). What is added here: they are made in decorated
functions, in class bodies and at module level as well, which mutmut leaves alone. What is left out, as no
test ought to tell it apart: the words of messages, docstrings and annotations, ``typing.cast`` and
``TypeVar``, exports (``__all__``, ``__slots__``), imports for the type checker, and ``"big"`` where Python has
that byte order by default (from 3.11 on).
"""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_string

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOT_LOGIC = {"cast", "TypeVar", "NewType", "dataclass", "namedtuple", "getLogger", "warn"}
_NOT_LOGIC_TARGETS = {"__all__", "__slots__", "__doc__"}
_MESSAGES = ("Error", "Exception", "Warning")


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One wrong change.

    ``where`` is the function or class it is in (``""`` at module level); ``before`` and ``after`` are the
    lines that differ, joined; ``first`` and ``last`` are the lines (from 1) of the statement it is in;
    ``in_function`` says that nothing outside a function's body changes, so that replacing the function is
    enough.
    """

    module: str
    where: str
    before: str
    after: str
    first: int
    last: int
    in_function: bool
    source: str = dataclasses.field(repr=False, compare=False)

    @property
    def change(self) -> str:
        """The change as one line of text, by which the list of equivalent mutants names it."""
        return f"{self.before} => {self.after}"


class _Found(NamedTuple):
    node: cst.CSTNode
    changed: cst.CSTNode
    top: int
    where: str
    first: int
    last: int
    in_function: bool


class _Places(cst.CSTVisitor):
    """Every place where a change can be made, with the change."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, module: cst.Module) -> None:
        super().__init__()
        self.found: list[_Found] = []
        self._tops = {id(statement): number for number, statement in enumerate(module.body)}
        self._top = 0
        self._names: list[str] = []
        self._functions = 0
        self._statements: list[tuple[int, int]] = []
        self._raising = 0
        self._defaults = 0

    def on_visit(self, node: cst.CSTNode) -> bool:
        self._top = self._tops.get(id(node), self._top)
        if _is_left_out(node) or (self._raising and isinstance(node, cst.FormattedString)):
            return False
        if isinstance(node, cst.Param):  # a default belongs to the enclosing body
            self._defaults += 1
        if isinstance(node, cst.BaseStatement | cst.BaseSmallStatement):
            self._statements.append(self._lines(node))
        if isinstance(node, cst.Raise) or _makes_an_error(node):
            self._raising += 1
        self._mutate(node)
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self._names.append(node.name.value)
            self._functions += isinstance(node, cst.FunctionDef)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        node = original_node
        if _is_left_out(node):
            return
        if isinstance(node, cst.Param):
            self._defaults -= 1
        if isinstance(node, cst.BaseStatement | cst.BaseSmallStatement):
            self._statements.pop()
        if isinstance(node, cst.Raise) or _makes_an_error(node):
            self._raising -= 1
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self._names.pop()
            self._functions -= isinstance(node, cst.FunctionDef)

    def _lines(self, node: cst.CSTNode) -> tuple[int, int]:
        """The lines of a statement; of one that has a body, only those before the body."""
        whole = self.get_metadata(PositionProvider, node)
        body = getattr(node, "body", None)
        last = (
            self.get_metadata(PositionProvider, body).start.line
            if isinstance(body, cst.CSTNode)
            else whole.end.line
        )
        return whole.start.line, max(whole.start.line, last)

    def _mutate(self, node: cst.CSTNode) -> None:
        in_function = self._functions > 0 and not (self._functions == 1 and self._defaults)
        for changed in self._changes(node):
            lines = self._statements[-1] if self._statements else (1, 1)
            self.found.append(_Found(node, changed, self._top, ".".join(self._names), *lines, in_function))

    def _changes(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        for kind, operator in mutation_operators:
            if not isinstance(node, kind):
                continue
            changes = list(operator(node))
            if operator is operator_string:  # the words of a message are not logic
                changes = [] if self._raising else changes[:1]
            for changed in changes:
                if not _is_default_order(node, changed) and not (self._raising and _loses_words(node, changed)):
                    yield changed


def _name(node: cst.CSTNode) -> str:
    named = node.attr if isinstance(node, cst.Attribute) else node
    return str(named.value) if isinstance(named, cst.Name) else ""


def _makes_an_error(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Call) and _name(node.func).endswith(_MESSAGES)


def _loses_words(node: cst.CSTNode, changed: cst.CSTNode) -> bool:
    """Whether a call loses a text: an error without its message is not worth a test of its own."""
    return _words(changed) < _words(node)


def _is_default_order(node: cst.CSTNode, changed: cst.CSTNode) -> bool:
    """Whether a number loses the byte order that Python has by default, from 3.11 on."""
    return (
        isinstance(node, cst.Call)
        and _name(node.func) in {"to_bytes", "from_bytes"}
        and _loses_words(node, changed)
    )


def _words(node: cst.CSTNode) -> int:
    return sum(_is_text(argument.value) for argument in node.args) if isinstance(node, cst.Call) else 0


def _is_text(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.BaseString | cst.FormattedString)


def _is_left_out(node: cst.CSTNode) -> bool:
    if isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom | cst.FormattedStringText):
        return True
    if isinstance(node, cst.Call):
        return _name(node.func) in _NOT_LOGIC
    if isinstance(node, cst.If):
        return _name(node.test) == "TYPE_CHECKING"
    if isinstance(node, cst.Assign):
        return _name(node.targets[0].target) in _NOT_LOGIC_TARGETS
    if isinstance(node, cst.Expr):  # docstrings, and the text under a constant
        return isinstance(node.value, cst.BaseString)
    return False


def _differing(before: list[str], after: list[str]) -> tuple[str, str]:
    old: list[str] = []
    new: list[str] = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag != "equal":
            old += before[i1:i2]
            new += after[j1:j2]
    return " ".join(line.strip() for line in old), " ".join(line.strip() for line in new)


def mutants_of(module: str, source: str) -> list[Mutant]:
    """All changes of one module, in the order of its lines; two that read the same are one."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    places = _Places(wrapper.module)
    wrapper.visit(places)
    parts = [wrapper.module.code_for_node(part) for part in (*wrapper.module.header, *wrapper.module.body)]
    before = source.splitlines()
    seen: dict[tuple[Any, ...], Mutant] = {}
    for found in places.found:
        changed = cast("cst.CSTNode", wrapper.module.body[found.top].deep_replace(found.node, found.changed))
        here = len(wrapper.module.header) + found.top
        text = "".join([*parts[:here], wrapper.module.code_for_node(changed), *parts[here + 1 :]])
        after = text.splitlines()
        longer = len(after) - len(before)
        old, new = _differing(before[found.first - 1 : found.last], after[found.first - 1 : found.last + longer])
        if old != new:
            mutant = Mutant(module, found.where, old, new, found.first, found.last, found.in_function, text)
            seen.setdefault((found.where, found.first, old, new), mutant)
    return list(seen.values())
