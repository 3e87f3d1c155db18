"""A block against its CID: what the hash cannot say."""

from __future__ import annotations

import pytest

import carv2
from carv2.errors import IntegrityError
from carv2.section import BlockChecker
from helpers.archives import v1

EMPTY_DIGEST = bytes([1, 0x55, 0x12, 0])


def test_an_empty_digest_of_a_hash_function_proves_nothing() -> None:
    assert carv2.CID(EMPTY_DIGEST).matches(b"anything") is False
    with pytest.raises(IntegrityError, match="an empty digest"):
        BlockChecker().check(EMPTY_DIGEST, b"anything", position=7)
    with carv2.open(v1([], [(EMPTY_DIGEST, b"anything")])) as car, pytest.raises(IntegrityError):
        list(car)


def test_an_empty_identity_cid_is_the_empty_block() -> None:
    cid = carv2.CID.of("bafkqaaa")
    assert cid.matches(b"") is True
    BlockChecker().check(bytes(cid), b"", position=0)
