"""JSON, read as a flow of tokens and written as go-ipld-prime writes it; nothing here recurses.

Source: RFC 8259. Text is UTF-8, without a byte order mark.

>>> [(token.kind, token.value) for token in tokens(b'{"a": [1, null]}')]
[('{', None), ('key', 'a'), ('[', None), ('value', 1), ('value', None), (']', None), ('}', None)]
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from json import decoder as _decoder
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, cast

from carv2.codec._values import MAX_DEPTH
from carv2.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    _Container: TypeAlias = "dict[str, object] | list[object]"

_scan_string = cast("Callable[[str, int, bool], tuple[str, int]]", vars(_decoder)["scanstring"])  # in C
_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS = {"n": ("null", None), "t": ("true", True), "f": ("false", False)}
_CLOSING = {"{": "}", "[": "]"}
_MAPS_OF_BYTES = 2  # {"/": {"bytes": "..."}}
_MAX_DIGITS = 21  # of a whole number, its sign included: more are out of range, and slow to read


class Token(NamedTuple):
    """A brace or bracket as itself, a ``key``, or a ``value`` that is neither map nor list."""

    kind: str
    value: Any
    at: int
    """Offset in the text, in characters."""


def tokens(data: bytes) -> Iterator[Token]:
    """What stands in a JSON text.

    Raises:
        CodecError: no JSON, something behind it, a number out of range, or nested deeper than 130: a value may be
            of 128 levels, and the bytes in the innermost are two maps more.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise CodecError("JSON: not UTF-8", position=error.start) from error
    closing: list[str] = []
    at = _space(text, 0)
    while True:
        token, at = _value(text, at)
        yield token
        opened = token.kind in _CLOSING
        if opened:
            if len(closing) == MAX_DEPTH + _MAPS_OF_BYTES:
                fail(f"nested deeper than {MAX_DEPTH}", text, token.at)
            closing.append(_CLOSING[token.kind])
        at = _space(text, at)
        while closing and text.startswith(closing[-1], at):
            yield Token(closing.pop(), None, at)
            opened, at = False, _space(text, at + 1)
        if not closing:
            break
        at = at if opened else _comma(text, at)
        if closing[-1] == "}":
            token, at = _key(text, at)
            yield token
    if at < len(text):
        fail("something behind the value", text, at)


def build(data: bytes, finish: Callable[[dict[str, Any]], object]) -> Any:
    """The value of a JSON text; ``finish`` makes of each map what it is to be, or raises a ValueError.

    Raises:
        CodecError: no JSON, or what is made is nested deeper than 128.
    """
    stack: list[tuple[Any, str, int]] = []
    holder: Any = []
    key = ""
    for kind, value, at in tokens(data):
        done: Any = value
        if kind == "key":
            if value in holder:
                fail(f"the key {value!r} comes twice", data.decode(), at)
            key = value
        elif kind in _CLOSING:
            stack.append((cast("Any", holder), key, at))
            holder = {} if kind == "{" else []
        else:
            if kind != "value":
                done = _finished(holder, finish, data, at)
                holder, key, opened_at = stack.pop()
                if len(stack) == MAX_DEPTH and isinstance(done, (dict, list)):
                    fail(f"nested deeper than {MAX_DEPTH}", data.decode(), opened_at)
            if isinstance(holder, dict):
                holder[key] = done
            else:
                holder.append(done)
    return cast("list[Any]", holder)[0]


def _finished(holder: Any, finish: Callable[[dict[str, Any]], object], data: bytes, at: int) -> Any:
    try:
        return finish(cast("dict[str, Any]", holder)) if isinstance(holder, dict) else holder
    except ValueError as error:
        fail(str(error.args[0]), data.decode(), at)


def _value(text: str, at: int) -> tuple[Token, int]:
    """The token at ``at``, which begins a value, and the offset behind it."""
    first = text[at : at + 1]
    if first in _CLOSING:
        return Token(first, None, at), at + 1
    if first == '"':
        value, end = _string(text, at)
        return Token("value", value, at), end
    if first in _WORDS and text.startswith(_WORDS[first][0], at):
        word, constant = _WORDS[first]
        return Token("value", constant, at), at + len(word)
    number = _NUMBER.match(text, at)
    if number is None:
        fail("no value", text, at)
    return Token("value", _number(text, number), at), number.end()


def _number(text: str, found: re.Match[str]) -> int | float:
    if found.lastindex is None:
        if found.end() - found.start() > _MAX_DIGITS:
            fail("a number out of range", text, found.start())
        return int(found[0])
    value = float(found[0])
    if math.isinf(value):
        fail("a number out of range", text, found.start())
    return value


def _string(text: str, at: int) -> tuple[str, int]:
    try:
        value, end = _scan_string(text, at + 1, True)
        value.encode()
    except _decoder.JSONDecodeError as error:
        fail(error.msg, text, error.pos)
    except UnicodeEncodeError:
        fail("half of a surrogate pair", text, at)
    return value, end


def _key(text: str, at: int) -> tuple[Token, int]:
    """The key at ``at``, and the offset of its value."""
    if not text.startswith('"', at):
        fail("no key", text, at)
    key, end = _string(text, at)
    end = _space(text, end)
    if not text.startswith(":", end):
        fail("no colon behind a key", text, end)
    return Token("key", key, at), _space(text, end + 1)


def _comma(text: str, at: int) -> int:
    if not text.startswith(",", at):
        fail("no comma", text, at)
    return _space(text, at + 1)


def _space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()


def fail(message: str, text: str, at: int) -> NoReturn:
    """Raise for what stands at character ``at``."""
    raise CodecError(f"JSON: {message}", position=len(text[:at].encode("utf-8", "surrogatepass")))


_ESCAPED = re.compile('[\x00-\x1f"\\\\\u2028\u2029\ud800-\udfff]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def dumps(value: object, *, indent: str = "", sort_keys: bool = True, lossy: bool = False) -> str:
    r"""The text of a value made of None, bool, int, float, str, list and dict.

    Whole floats keep their ``.0``, unlike go-ipld-prime's: without it they would be read as integers. With an
    ``indent`` for each level, one entry a line. ``lossy`` puts a replacement character for each lone surrogate.

    Raises:
        ValueError: a lone surrogate without ``lossy``, or a number that is not finite.

    >>> print(dumps({"b": [1.0, 1e21, "\b"], "a": {}}))
    {"a":{},"b":[1.0,1e+21,"\u0008"]}
    """
    out: list[str] = []
    todo: list[tuple[str, object, int]] = [("", value, 0)]  # a text, the value behind it, that one's depth
    while todo:
        lead, item, depth = todo.pop()
        out.append(lead)
        if item and isinstance(item, (dict, list)):
            todo += reversed(_entries(cast("_Container", item), depth, indent, sort_keys))
        elif item is not _NOTHING:
            out.append(_leaf(item))
    text = "".join(out)
    if lossy:
        return text.replace(_LONE, "\\ufffd")
    if _LONE in text:
        raise ValueError("a text with a lone surrogate")
    return text


_LONE = "\udc00"  # stands for any of them
_NOTHING = object()


def _entries(holder: _Container, depth: int, indent: str, sort_keys: bool) -> list[tuple[str, object, int]]:
    inner, outer = ("\n" + indent * (depth + 1), "\n" + indent * depth) if indent else ("", "")
    colon = ": " if indent else ":"
    if isinstance(holder, dict):
        keys = sorted(holder) if sort_keys else list(holder)
        entries = [("," + inner + _text(key) + colon, holder[key], depth + 1) for key in keys]
        brackets = "{}"
    else:
        entries = [("," + inner, item, depth + 1) for item in holder]
        brackets = "[]"
    entries[0] = (brackets[0] + entries[0][0][1:], *entries[0][1:])
    return [*entries, (outer + brackets[1], _NOTHING, 0)]


def _leaf(item: object) -> str:
    if isinstance(item, str):
        return _text(item)
    if isinstance(item, float):
        return _float(item)
    if isinstance(item, (bool, type(None))):
        return {True: "true", False: "false", None: "null"}[item]
    return str(item)  # of a number, and of a map or a list of nothing


def _text(text: str) -> str:
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    if "\ud800" <= char <= "\udfff":
        return _LONE
    return _SHORT.get(char) or f"\\u{ord(char):04x}"


def _float(value: float) -> str:
    """As ECMAScript does, but with a point: the shortest digits, an exponent below 1e-6 and from 1e21 on."""
    if not math.isfinite(value):
        raise ValueError(f"{value} cannot be written in JSON")
    if 1e-6 <= abs(value) < 1e21:
        text = format(Decimal(repr(value)), "f")
        return text if "." in text else text + ".0"
    return re.sub(r"e([+-])0*", r"e\1", repr(value))
