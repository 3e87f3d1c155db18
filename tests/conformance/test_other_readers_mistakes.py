"""Inputs that other Python readers reject although they are valid, or accept although they are wrong.

One row for each of reference/ecosystem.md's table 1.2.
"""

from __future__ import annotations

import hashlib

import pytest

from carv2.errors import FormatError, IntegrityError, LimitError, TruncatedError, VersionError
from helpers.archives import (
    DAG_CBOR,
    FISH,
    LOBSTER,
    PB_NODE,
    PRAGMA,
    cid_v1,
    header,
    identity,
    section,
    v1,
    v2,
    v2_header,
    varint,
)
from helpers.feeding import by_decoder, by_reader, bytewise

BLAKE2B = (cid_v1(b"x", code=0xB220, digest=hashlib.blake2b(b"x", digest_size=32).digest()), b"x")
EMPTY = (cid_v1(b""), b"")
IDENTITY = (identity(b"\x00\x01"), b"\x00\x01")
DEEP = b"\x81" * 100_000 + b"\x80"
DEEP_BLOCK = (cid_v1(DEEP, codec=DAG_CBOR), DEEP)

VALID = {
    "no roots": ([], [FISH]),
    "two roots, raw, blake2b": ([FISH[0], BLAKE2B[0]], [FISH, BLAKE2B]),
    "CIDv0": ([PB_NODE[0]], [PB_NODE]),
    "no data": ([EMPTY[0]], [EMPTY]),
    "identity": ([IDENTITY[0]], [IDENTITY]),
    "lists a hundred thousand deep": ([DEEP_BLOCK[0]], [DEEP_BLOCK]),
    "no blocks": ([FISH[0]], []),
    "the same block twice": ([FISH[0]], [FISH, FISH]),
}

LONG = section(*LOBSTER)

WRONG = {
    "hash mismatch": (v1([], [FISH, (LOBSTER[0], b"Lobster")]), IntegrityError),
    "cut in the last block": (v1([], [FISH, LOBSTER])[:-3], TruncatedError),
    "a stray byte behind the last block": (v1([], [FISH]) + b"\x80", TruncatedError),
    "zero padding": (v1([], [FISH]) + bytes(64), FormatError),
    "section length too large": (v1([], [FISH]) + varint(44) + LONG[1:], TruncatedError),
    "section length too small": (v1([], [FISH]) + varint(42) + LONG[1:], IntegrityError),
    "header length 2**40": (varint(1 << 40) + header()[1:] + section(*FISH), LimitError),
    "section length 2**40": (v1([], [FISH]) + varint(1 << 40) + LONG[1:], LimitError),
    "over-long varint": (v1([], [FISH]) + b"\xab\x80\x00" + LONG[1:], FormatError),
    "over-long header varint": (b"\x91\x00" + header()[1:], FormatError),
    "version 3": (header()[:-1] + b"\x03", VersionError),
    "version 2 without its header": (PRAGMA, TruncatedError),
    "a CARv2 whose payload is missing": (PRAGMA + v2_header(51, 100), TruncatedError),
}


@pytest.mark.parametrize("wrapped", [False, True], ids=["CARv1", "CARv2"])
@pytest.mark.parametrize("name", VALID)
def test_what_is_valid_is_read(name: str, wrapped: bool) -> None:
    archive = v1(*VALID[name])
    if wrapped:
        archive = v2(archive, data_padding=1413)
    for outcome in (by_reader(archive), by_decoder([archive])):
        assert outcome == (VALID[name][1], None)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_and_told_apart(name: str) -> None:
    archive, kind = WRONG[name]
    for outcome in (by_reader(archive), by_decoder([archive]), by_decoder(bytewise(archive))):
        assert outcome.kind is kind
        assert outcome.items in ([], [FISH])
