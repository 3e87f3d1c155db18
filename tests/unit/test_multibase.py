"""Multibase text, against the specification's vectors and other implementations."""

from __future__ import annotations

import base64
import contextlib
import sys
from typing import TYPE_CHECKING

import multiformats
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2 import _multibase

if TYPE_CHECKING:
    from collections.abc import Callable

# https://github.com/multiformats/multibase, tests/basic.csv and tests/two_leading_zeros.csv
BASIC, ZEROS = b"yes mani !", b"\0\0yes mani !"
PUBLISHED = [
    ("base16", BASIC, "f796573206d616e692021"),
    ("base16upper", BASIC, "F796573206D616E692021"),
    ("base32", BASIC, "bpfsxgidnmfxgsibb"),
    ("base32upper", BASIC, "BPFSXGIDNMFXGSIBB"),
    ("base36", BASIC, "k2lcpzo5yikidynfl"),
    ("base36upper", BASIC, "K2LCPZO5YIKIDYNFL"),
    ("base58btc", BASIC, "z7paNL19xttacUY"),
    ("base64", BASIC, "meWVzIG1hbmkgIQ"),
    ("base64pad", BASIC, "MeWVzIG1hbmkgIQ=="),
    ("base64url", BASIC, "ueWVzIG1hbmkgIQ"),
    ("base64urlpad", BASIC, "UeWVzIG1hbmkgIQ=="),
    ("base16", ZEROS, "f0000796573206d616e692021"),
    ("base32", ZEROS, "baaahszltebwwc3tjeaqq"),
    ("base36", ZEROS, "k002lcpzo5yikidynfl"),
    ("base36upper", ZEROS, "K002LCPZO5YIKIDYNFL"),
    ("base58btc", ZEROS, "z117paNL19xttacUY"),
    ("base64", ZEROS, "mAAB5ZXMgbWFuaSAh"),
    ("base64urlpad", ZEROS, "UAAB5ZXMgbWFuaSAh"),
    # not in this module: from multiformats
    ("base2", BASIC, "001111001011001010111001100100000011011010110000101101110011010010010000000100001"),
    ("base10", BASIC, "9573277761329450583662625"),
    ("base32hex", BASIC, "vf5in683dc5n6i811"),
    ("base32pad", ZEROS, "caaahszltebwwc3tjeaqq===="),
    ("base32z", BASIC, "hxf1zgedpcfzg1ebb"),
    ("base58flickr", BASIC, "Z7Pznk19XTTzBtx"),
]
OWN = sorted({name for name, _, _ in PUBLISHED[:18]})

# The same repository, tests/case_insensitivity.csv: all are "hello world"
MIXED_CASE = [
    *("f68656c6c6f20776F726C64", "F68656c6c6f20776F726C64", "bnbswy3dpeB3W64TMMQ"),
    *("Bnbswy3dpeB3W64TMMQ", "kfUvrsIvVnfRbjWaJo", "KfUVrSIVVnFRbJWAJo"),
]

# RFC 4648, section 10, without padding
RFC4648_BASE32 = [
    *((b"", ""), (b"f", "MY"), (b"fo", "MZXQ"), (b"foo", "MZXW6"), (b"foob", "MZXW6YQ")),
    *((b"fooba", "MZXW6YTB"), (b"foobar", "MZXW6YTBOI")),
]

# https://datatracker.ietf.org/doc/html/draft-msporny-base58-03, section 5
DRAFT_BASE58 = [
    (b"Hello World!", "2NEpo7TZRRrLZSi2U"),
    (
        b"The quick brown fox jumps over the lazy dog.",
        "USm3fpXnKG5EUBx2ndxBDMPVciP5hGey2Jh4NDv6gmeo1LkMeiKrLJUUBk6Z",
    ),
    (bytes.fromhex("0000287fb4cd"), "11233QC4"),
]

BAD_CHARACTERS = [
    ("b0", "'0' at index 1 is not base32"),
    ("bpfsxg=", "'=' at index 6 is not base32"),
    ("bpf xg", "' ' at index 3 is not base32"),
    ("bpf_xg", "'_' at index 3 is not base32"),
    ("bpf\nxg", r"'\n' at index 3 is not base32"),
    ("bpf?xg", "'?' at index 3 is not base32"),
    ("b\u017fa", "'\u017f' at index 1 is not base32"),  # upper case of it is S
    ("k\u212a", "'\u212a' at index 1 is not base36"),  # the Kelvin sign: lower case of it is k
    ("k1-2", "'-' at index 2 is not base36"),
    ("f\u0661\u0661", "'\u0661' at index 1 is not base16"),  # a digit for int()
    ("f00g0", "'g' at index 3 is not base16"),
    ("z0", "'0' at index 1 is not base58btc"),
    ("z11I", "'I' at index 3 is not base58btc"),
    ("zl", "'l' at index 1 is not base58btc"),
    ("z\ud800", r"'\ud800' at index 1 is not base58btc"),
    ("meW-z", "'-' at index 3 is not base64"),
    ("ueW+z", "'+' at index 3 is not base64url"),
    ("meWVzIG1hbmkgIQ==", "'=' at index 15 is not base64"),
    ("MeW=z", "'=' at index 3 is not base64pad"),
]

BAD_ENDS = [
    ("ba", "base32 of 1 characters is not a whole number of bytes"),
    ("baaa", "base32 of 3 characters is not a whole number of bytes"),
    ("baaaaaa", "base32 of 6 characters is not a whole number of bytes"),
    ("bab", "'b' at index 2 has bits behind the last byte of base32"),
    ("bmzxr", "'r' at index 4 has bits behind the last byte of base32"),
    ("f0", "base16 of 1 characters is not a whole number of bytes"),
    ("mA", "base64 of 1 characters is not a whole number of bytes"),
    ("mAB", "'B' at index 2 has bits behind the last byte of base64"),
    ("uAAB", "'B' at index 3 has bits behind the last byte of base64url"),
    ("MAA", "base64pad of 2 characters ends in 2 '=' of padding"),
    ("MAA=", "base64pad of 2 characters ends in 2 '=' of padding"),
    ("UAAA==", "base64urlpad of 3 characters ends in 1 '=' of padding"),
    ("MAAAA=", "base64pad of 4 characters ends in 0 '=' of padding"),
]


@pytest.mark.parametrize(("base", "raw", "text"), PUBLISHED)
def test_text_is_that_of_the_specification(base: str, raw: bytes, text: str) -> None:
    assert _multibase.encode(raw, base) == text
    assert _multibase.decode(text) == raw


@pytest.mark.parametrize("text", MIXED_CASE)
def test_bases_without_case_take_any(text: str) -> None:
    assert _multibase.decode(text) == b"hello world"


@pytest.mark.parametrize(("raw", "text"), RFC4648_BASE32)
def test_base32_is_that_of_rfc_4648(raw: bytes, text: str) -> None:
    assert _multibase.encode(raw) == "b" + text.lower()
    assert _multibase.decode("B" + text) == raw


@pytest.mark.parametrize(("raw", "text"), DRAFT_BASE58)
def test_base58_is_that_of_the_draft(raw: bytes, text: str) -> None:
    assert _multibase.encode_base58(raw) == text
    assert _multibase.decode_base58(text) == raw


def test_the_empty_cids_have_their_well_known_text() -> None:
    # `ipfs add` of an empty directory, and of an empty raw block
    v0 = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"
    v1 = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
    assert _multibase.encode_base58(_multibase.decode_base58(v0)) == v0
    assert _multibase.decode_base58(v0).hex().startswith("122059948439065f29619ef41280cbb9")
    assert _multibase.encode(_multibase.decode(v1)) == v1
    assert _multibase.decode(v1).hex().startswith("01551220e3b0c44298fc1c149afb")


@pytest.mark.parametrize("base", OWN)
@given(raw=st.binary(max_size=100), zeros=st.integers(0, 9))
def test_every_base_comes_back_and_is_that_of_multiformats(base: str, raw: bytes, zeros: int) -> None:
    raw = bytes(zeros) + raw
    text = _multibase.encode(raw, base)
    assert _multibase.decode(text) == raw
    assert multiformats.multibase.encode(raw, base) == text


@given(st.binary(max_size=300))
def test_base32_and_base64_are_those_of_the_standard_library(raw: bytes) -> None:
    assert _multibase.encode(raw) == "b" + base64.b32encode(raw).decode().rstrip("=").lower()
    assert _multibase.encode(raw, "base64urlpad") == "U" + base64.urlsafe_b64encode(raw).decode()


@pytest.mark.parametrize("prefix", "bfzkmuMU")
@given(text=st.text(alphabet="abcdefgXYZ0123459-_+/=\u0661 ", max_size=12))
def test_no_two_texts_mean_the_same_bytes(prefix: str, text: str) -> None:
    name = {"b": "base32", "f": "base16", "z": "base58btc", "k": "base36"}
    name |= {"m": "base64", "u": "base64url", "M": "base64pad", "U": "base64urlpad"}
    try:
        raw = _multibase.decode(prefix + text)
    except ValueError:
        return
    canonical = text.lower() if prefix in "bfk" else text
    assert _multibase.encode(raw, name[prefix]) == prefix + canonical


@pytest.mark.parametrize(("text", "message"), BAD_CHARACTERS + BAD_ENDS)
def test_bad_text_says_what_is_wrong_and_where(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        _multibase.decode(text)
    assert str(caught.value) == message


def test_base58_without_prefix_counts_from_its_own_start() -> None:
    with pytest.raises(ValueError, match="'0' at index 2 is not base58btc"):
        _multibase.decode_base58("Qm0")


@pytest.mark.parametrize("decode", [_multibase.decode, _multibase.decode_base58])
@given(text=st.text(max_size=40))
def test_any_text_is_bytes_or_a_value_error(decode: Callable[[str], bytes], text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(decode(text), bytes)


@pytest.mark.parametrize("text", ["", "\0abc", "?abc", "xabc", "\U0001f680\U0001f680?"])
def test_text_of_no_base_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no multibase text"):
        _multibase.decode(text)


@pytest.mark.parametrize("base", ["identity", "base33", "", "b"])
def test_an_unknown_base_is_named_in_the_error(base: str) -> None:
    with pytest.raises(ValueError, match=f"multibase '?{base}"):
        _multibase.encode(b"abc", base)


def test_a_cid_of_2_kib_goes_through_every_base() -> None:
    raw = bytes.fromhex("0155") + b"\xff" * (_multibase.MAX_RAW_SIZE - 2)
    for base in [*OWN, "base2", "base8", "base10"]:
        text = _multibase.encode(raw, base)
        assert len(text) <= _multibase.MAX_TEXT_SIZE
        assert _multibase.decode(text) == raw


@pytest.mark.parametrize("base", ["base36", "base36upper", "base58btc", "base10"])
def test_bases_of_quadratic_cost_are_limited(base: str) -> None:
    with pytest.raises(ValueError, match="2049 bytes to encode, limit 2048"):
        _multibase.encode(bytes(_multibase.MAX_RAW_SIZE + 1), base)
    text = _multibase.encode(b"", base)
    with pytest.raises(ValueError, match="16386 characters, limit 16385"):
        _multibase.decode(text + "2" * (_multibase.MAX_TEXT_SIZE + 1 - len(text)))


@pytest.mark.parametrize("base", ["base16", "base32", "base64"])
def test_bases_of_linear_cost_are_not(base: str) -> None:
    raw = bytes(range(256)) * 400
    assert _multibase.decode(_multibase.encode(raw, base)) == raw


@pytest.mark.parametrize("text", ["cafkqaasbqm", "cafkqaasbqm===", "h!", "cafkqaasbqn======"])
def test_a_rare_base_is_decoded_strictly_too(text: str) -> None:
    """Found by fuzzing: the package that knows it takes padding that is not there."""
    with pytest.raises(ValueError, match=r"is not what base32\w* makes of any bytes|no multibase text"):
        _multibase.decode(text)
    assert _multibase.decode("cafkqaasbqm======") == bytes.fromhex("015500024183")
    assert _multibase.decode("CAFKQAASBQM======") == bytes.fromhex("015500024183")


def test_it_works_without_multiformats(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("multiformats", "multiformats.multibase"):
        monkeypatch.setitem(sys.modules, module, None)  # importing it raises ImportError
    assert _multibase.decode(_multibase.encode(b"abc", "base36")) == b"abc"
    with pytest.raises(ValueError, match="unknown multibase 'base10'"):
        _multibase.encode(b"abc", "base10")
    with pytest.raises(ValueError, match="no multibase text"):
        _multibase.decode("9123")


def test_each_base_is_in_the_table_by_its_name_and_prefix() -> None:
    by_name, by_prefix = _multibase._bases()
    texts = {name: text for name, raw, text in PUBLISHED if raw == BASIC}
    assert sorted(by_name) == OWN
    for name, base in by_name.items():
        assert base.name == name
        assert base.prefix + base.encode(BASIC) == texts[name]
        assert base.decode(texts[name], 1) == BASIC
        assert by_prefix[texts[name][0]] is base
    assert len(by_prefix) == len(by_name)


def test_digits_are_the_letters_that_they_are() -> None:
    letters = _multibase._values(b"ab", fold=True)
    assert [letters[ord(letter)] for letter in "aAbB"] == [0, 0, 1, 1]
    assert set(letters) == {0, 1, 0xFF}
    assert len(letters) == 256
    assert _multibase._values(b"ab", fold=False)[ord("A")] == 0xFF
