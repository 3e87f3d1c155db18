"""Values are walked without recursion, copied, and never changed."""

from __future__ import annotations

from typing import Any

import pytest

from carv2 import CID
from carv2.codec import _values
from carv2.codec._values import MAX_DEPTH, Marks, copied, unused_mark
from codec.values import RAW_CID


def same(item: object) -> object:
    return item


def nested(depth: int, inner: object = 1) -> Any:
    for at in range(depth):
        inner = [inner] if at % 2 else {"k": inner}
    return inner


@pytest.mark.parametrize(
    "value", [None, True, 5, 1.5, "text", b"bytes", CID(RAW_CID), [], {}, [[{"a": [1]}]]], ids=str
)
def test_a_copy_is_equal(value: object) -> None:
    assert copied(value, same) == value


def test_nothing_of_a_copy_is_the_original() -> None:
    value = {"a": [1, {"b": (2, 3)}], "c": {}}
    copy = copied(value, lambda item: item + 10)
    assert copy == {"a": [11, {"b": [12, 13]}], "c": {}}
    assert value == {"a": [1, {"b": (2, 3)}], "c": {}}
    assert copy["c"] is not value["c"]
    assert list(copy) == ["a", "c"]


def test_each_map_is_looked_at_before_its_values_are_changed() -> None:
    seen = list[dict[str, Any]]()
    copied({"a": [{"b": 1}, 2]}, str, lambda fields: seen.append(dict(fields)))
    assert seen == [{"a": [{"b": 1}, 2]}, {"b": 1}]


def test_values_may_be_nested_so_deep_and_no_deeper() -> None:
    assert MAX_DEPTH == 128
    assert copied(nested(128), same) == nested(128)
    with pytest.raises(ValueError, match="nested deeper than 128"):
        copied(nested(129), same)
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="nested deeper than 128"):
        copied(endless, same)


@pytest.mark.parametrize("bad", [{1}, 1j, object(), bytearray(b"x"), range(3)], ids=lambda bad: type(bad).__name__)
def test_what_is_not_of_the_data_model_is_named(bad: object) -> None:
    for value in (bad, [bad], {"a": bad}):
        with pytest.raises(TypeError, match=f"a {type(bad).__name__} is not of the IPLD data model"):
            copied(value, same)


@pytest.mark.parametrize("key", [1, b"x", None], ids=str)
def test_keys_are_text(key: object) -> None:
    with pytest.raises(TypeError, match=f"keys are text, got {type(key).__name__}"):
        copied([{"a": 1, key: 2}], same)


def test_a_mark_stands_for_a_cid_and_for_nothing_else() -> None:
    marks, other = Marks(b"12345678"), CID.of_data(b"other")
    assert marks.put(CID(RAW_CID)) == b"12345678\0\0\0\0"
    assert marks.put(other) == b"12345678\0\0\0\1"
    assert [marks.put(item) for item in (b"bytes", "text", None)] == [b"bytes", "text", None]
    assert marks.cids == [RAW_CID, other.raw]
    assert marks.take(b"12345678\0\0\0\1") == other
    assert marks.take(b"12345678\0\0\0\0") == CID(RAW_CID)
    assert [marks.take(item) for item in (b"bytes", "12345678", None)] == [b"bytes", "12345678", None]


def test_there_may_be_very_many_marks() -> None:
    marks = Marks(b"12345678")
    for _ in range(300):
        marks.of(RAW_CID)
    assert marks.of(b"the last") == b"12345678\0\0\1\x2c"


def test_a_mark_has_a_number_of_four_bytes() -> None:
    marks: Any = Marks(b"12345678")
    marks.cids = {0x01020304: RAW_CID}
    assert marks.take(b"12345678\1\2\3\4") == CID(RAW_CID)


def test_a_mark_is_not_in_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(unused_mark(b"")) == 8
    drawn = [b"aaaaaaaa", b"bbbbbbbb", b"cccccccc"]
    sizes = list[int]()

    def urandom(size: int) -> bytes:
        sizes.append(size)
        return drawn[len(sizes) - 1]

    monkeypatch.setattr(_values, "urandom", urandom)
    assert unused_mark(b"xaaaaaaaabbbbbbbbx") == b"cccccccc"
    assert sizes == [8, 8, 8]
