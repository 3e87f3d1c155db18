"""The packed table of keys and offsets: what a dict would say, whatever the keys and their hashes are."""

from __future__ import annotations

import random
import struct
import sys

import pytest

from carv2.blockstore import _key_table
from carv2.blockstore._key_table import KeyTable, heads_are, without_heads


def keys_of(count: int, size: int, seed: int = 1) -> list[bytes]:
    chosen = random.Random(seed)
    return list({chosen.randbytes(size) for _ in range(count)})


def filled(keys: list[bytes], *, batch: int = 100) -> tuple[KeyTable, dict[bytes, int]]:
    table, expected = KeyTable(len(keys[0])), {key: 1000 + 7 * at for at, key in enumerate(keys)}
    for start in range(0, len(keys), batch):
        assert table.add({key: expected[key] for key in keys[start : start + batch]}) == []
    return table, expected


@pytest.mark.parametrize("size", [1, 2, 3, 34, 36, 66, 300])
def test_it_knows_what_a_dict_knows(size: int) -> None:
    table, expected = filled(keys_of(3000, size))
    assert len(table) == len(expected)
    assert {key: table.find(key) for key in expected} == expected
    others = set(keys_of(300, size, seed=2)) - set(expected)
    assert not any(table.find(key) for key in others)
    assert table.find(b"of another size" * 30) is None


def test_keys_that_all_have_the_same_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_key_table, "hash", lambda _: -7, raising=False)
    table, expected = filled(keys_of(300, 34))
    assert {key: table.find(key) for key in expected} == expected
    assert table.find(bytes(34)) is None
    assert table.add({**expected, bytes(34): 5}) == []
    assert (len(table), table.find(bytes(34))) == (len(expected) + 1, 5)


def test_the_first_offset_of_a_key_stays_and_another_one_is_handed_back() -> None:
    table, expected = filled(keys_of(200, 34))
    again = {key: offset + 1 for key, offset in expected.items()}
    assert dict(table.add(again)) == again
    assert table.add(expected) == []  # the same is nothing new
    assert len(table) == len(expected)
    assert {key: table.find(key) for key in expected} == expected


def test_offsets_may_be_as_large_as_a_file_can_be() -> None:
    table = KeyTable(3)
    table.add({b"end": (1 << 63) - 1, b"top": 0})
    assert (table.find(b"end"), table.find(b"top")) == ((1 << 63) - 1, 0)


def test_an_empty_hint_is_the_truth() -> None:
    table, expected = filled(keys_of(3000, 34))
    slots, mask = table.hints
    assert all(slots[hash(key) & mask] for key in expected)
    others = keys_of(3000, 34, seed=2)
    assert any(not slots[hash(key) & mask] for key in others)


def test_draining_gives_every_record_once() -> None:
    table, expected = filled(keys_of(40_000, 34), batch=4096)
    records = struct.Struct(">34sQ")
    drained = [pair for piece in table.drained() for pair in records.iter_unpack(piece)]
    assert len(drained) == len(expected)
    assert dict(drained) == expected
    assert len(table) == 0


def test_a_block_takes_some_60_bytes() -> None:
    table, expected = filled(keys_of(100_000, 34), batch=4096)
    slots, _ = table.hints
    taken = sys.getsizeof(table._records) + sys.getsizeof(slots)
    assert 42 < taken / len(expected) < 70


def test_heads_in_common_are_seen_and_cut_off() -> None:
    records = b"".join(b"\x12\x20" + bytes([at]) * 5 for at in range(9))
    assert heads_are(b"\x12\x20", records, 7)
    assert not heads_are(b"\x12\x21", records, 7)
    assert not heads_are(b"\x12\x20", records[:-7] + b"\x12\x21tail!", 7)
    assert [tail for (tail,) in without_heads(b"\x12\x20", records, 7)] == [bytes([at]) * 5 for at in range(9)]
