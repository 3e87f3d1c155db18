"""Names of multicodec numbers."""

from __future__ import annotations

import subprocess
import sys

import multiformats
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2 import multicodec

NEWER = {0x1011}  # than the table of multiformats 0.3.1
KNOWN = sorted(item for item in multicodec._NAMES.items() if item[0] not in NEWER)

# https://github.com/multiformats/multicodec/blob/master/table.csv
PUBLISHED = [
    (0x00, "identity"),
    (0x12, "sha2-256"),
    (0x22, "murmur3-x64-64"),
    (0x55, "raw"),
    (0x70, "dag-pb"),
    (0x71, "dag-cbor"),
    (0x0129, "dag-json"),
    (0x0202, "car"),
    (0x0400, "car-index-sorted"),
    (0x0401, "car-multihash-index-sorted"),
    (0x1011, "fr32-sha256-trunc254-padbintree"),
    (0x1012, "sha2-256-trunc254-padded"),
    (0xB201, "blake2b-8"),
    (0xB220, "blake2b-256"),
    (0xB240, "blake2b-512"),
    (0xB241, "blake2s-8"),
    (0xB260, "blake2s-256"),
    (0xF101, "fil-commitment-unsealed"),
    (0xF102, "fil-commitment-sealed"),
]


CODES = """
    00 01 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 20 22 23 50 51 55 56 70 71 72 78 85 86 90 91 92 93 94 95
    96 97 98 99 9a b0 b1 b2 c0 c1 d5 0129 0200 0202 0300 0400 0401 1011
    1012 1013 1014 1015 1022 1053 534d b401 f101 f102
"""
"""Those of the table, besides blake2's."""


def test_the_table_has_what_archives_are_made_of() -> None:
    wanted = {int(code, 16) for code in CODES.split()} | set(range(0xB201, 0xB261))
    assert sorted(multicodec._NAMES) == sorted(wanted)


@pytest.mark.parametrize(("code", "name"), PUBLISHED)
def test_a_code_and_its_name_lead_to_each_other(code: int, name: str) -> None:
    assert multicodec.name_of(code) == name
    assert multicodec.code_of(name) == code


@pytest.mark.parametrize(("code", "name"), KNOWN)
def test_the_table_agrees_with_multiformats(code: int, name: str) -> None:
    assert multiformats.multicodec.get(code=code).name == name


def test_what_the_table_lacks_comes_from_multiformats() -> None:
    assert 0x1D01 not in multicodec._NAMES
    assert multicodec.name_of(0x1D01) == "kangarootwelve"
    assert multicodec.code_of("kangarootwelve") == 0x1D01


@pytest.mark.parametrize("code", [31, 0x300000, 1 << 62])
def test_a_code_without_a_name_prints_as_in_go(code: int) -> None:
    assert multicodec.name_of(code) == f"Code({code})"


@pytest.mark.parametrize("name", ["", "sha256", "SHA2-256", "Code(31)", "blake2b-520"])
def test_an_unknown_name_is_repeated_in_the_error(name: str) -> None:
    with pytest.raises(ValueError, match="unknown multicodec name") as caught:
        multicodec.code_of(name)
    assert repr(name) in str(caught.value)


@given(st.integers(0, (1 << 63) - 1))
def test_every_number_has_text(code: int) -> None:
    name = multicodec.name_of(code)
    assert name == f"Code({code})" or multicodec.code_of(name) == code


def test_it_works_without_multiformats(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("multiformats", "multiformats.multicodec"):
        monkeypatch.setitem(sys.modules, module, None)  # importing it raises ImportError
    assert [(code, multicodec.name_of(code)) for code, _ in PUBLISHED] == PUBLISHED
    assert multicodec.name_of(0x1D01) == "Code(7425)"
    with pytest.raises(ValueError, match="kangarootwelve"):
        multicodec.code_of("kangarootwelve")


def test_usual_codes_import_no_other_package() -> None:
    script = (
        "import sys; before = set(sys.modules); from carv2 import _multibase, multicodec, multihash;"
        "multicodec.name_of(0xb220), multicodec.code_of('raw'), multihash.hasher(0xb220, 32);"
        "_multibase.decode(_multibase.encode(b'carv2'));"
        "print({'multiformats', 'mmh3', 'blake3', 'base64', 'binascii'} & (set(sys.modules) - before))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("set()\n", "")
