"""Hash functions by number, against published multihashes and other implementations."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import sys
from typing import TYPE_CHECKING

import multiformats
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2 import multicodec, multihash
from carv2.errors import FormatError, TruncatedError

if TYPE_CHECKING:
    from collections.abc import Iterator

BLAKE2B = [(0xB200 + size, size, "blake2b") for size in range(1, 65)]
BLAKE2S = [(0xB240 + size, size, "blake2s") for size in range(1, 33)]

# Text that was hashed, multihash in hex: go-multihash 0.2.3, sum_test.go.
GO_SUMS = [
    ("foo", "0003666f6f"),
    ("foo", "11140beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33"),
    ("foo", "110a0beec7b5ea3f0fdbc95d"),
    ("foo", "12202c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"),
    ("foo", "121f2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7"),
    ("foo", "12102c26b46b68ffc68ff99b453c1d304134"),
    ("foo", "1320f7fbba6e0636f890e56fbbf3283e524c6fa3204ae298382d624741d0dc663832"),
    ("foo", "14204bca2b137edc580fe50a88983ef860ebaca36c857b1f492839d6d7392452a63c"),
    ("beep boop", "171c0da73a89549018df311c0a63250e008f7be357f93ba4e582aaea32b8"),
    ("beep boop", "1620828705da60284b39de02e3599d1f39e6c1df001f5dbf63c9ec2d2c91a95a427f"),
    ("beep boop", "151075a9cff1bcfbe8a7025aa225dd558fb0"),
    ("foo", "5620c7ade88fc7a21498a6a5e5c385e1f68bed822b72aa63c4a9a48a02c2466ee29e"),
    ("foo", "a0e40220b8fe9f7f6255a6fa08f668ab632a8d081ad87983c77cd274e48ce450f0b349fd"),
    ("foo", "94e40214983ceba2afea8694cc933336b27b907f90c53a88"),
    ("foo", "81e4020152"),
    ("foo", "e0e4022008d6cad88075de8f192db097573d0e829411cd91eb6ec65e8fc16c017edfdb74"),
    ("foo", "1820f84e95cb5fbd2038863ab27d3cdeac295ad2d4ab96ad1f4b070c0bf36078ef08"),
    (
        "foo",
        (
            "19401af97f7818a28edfdfce5ec66dbdc7e871813816d7d585fe1f12475ded5b6502"
            "b7723b74e2ee36f2651a10a8eaca72aa9148c3c761aaceac8f6d6cc64381ed39"
        ),
    ),
    ("foo", "d50110acbd18db4cc2f85cedef654fccc4a4d8"),
    # not in sum_test.go: go-multihash 0.2.3 run on this text
    ("foo", "2208e271865701f54561"),
    ("foo", "93201c0808f64e60d58979fcb676c96ec938270dea42445aeefcd3a4e6f8db"),
    ("foo", "201498c11ffdfdd540676b1a137cb1a22b2a70350c9a"),
    ("foo", "a0e40214b8fe9f7f6255a6fa08f668ab632a8d081ad87983"),
]

# The same, for functions that need an optional package or a build of OpenSSL that has them.
OPTIONAL_SUMS = [
    ("foo", "1e2004e0bb39f30b1a3feb89f536c93be15055482df748674b00d26e5a75777702e9"),
    (
        "foo",
        (
            "1e4004e0bb39f30b1a3feb89f536c93be15055482df748674b00d26e5a75777702e9"
            "791074b7511b59d31c71c62f5a745689fa6c9497f68bdf1061fe07f518d410c0"
        ),
    ),
    ("foo", "1e0104"),
    ("foo", "1b2041b1a0649752af1b28b3dc29a1556eee781e4a4c3a1f7f53f90fa834de098c4d"),
    (
        "beep boop",
        (
            "1d40e161c54798f78eba3404ac5e7e12d27555b7b810e7fd0db3f25ffa0c785c4383"
            "31b0fbb6156215f69edf403c642e5280f4521da9bd767296ec81f05100852e78"
        ),
    ),
    ("foo", "94201cd68f258d37d670cfc1ec1001a0394784233f88f056994f9a7e5e99be"),
    ("foo", "952020d58042e6aa5a335e03ad576c6a9e43b41591bfd2077f72dec9df7930e492055d"),
    # RIPEMD-160 of "abc" is from its authors' page, SM3 of "abc" from GB/T 32905-2016, appendix A
    ("abc", "d320148eb208f7e05d987a9b044a8e98c6b087f15a0bfc"),
    ("abc", "cda6012066c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"),
]

# @multiformats/murmur3 2.1, test/test-basics.spec.js: text, murmur3-32 multihash, murmur3-x64-128 digest.
# Go's github.com/spaolacci/murmur3 writes the 128 bits the same way.
JS_MURMUR3 = [
    ("beep boop", "2304243ddb9e", "acfe9c5bbf88f075c0c4df0464430ead"),
    ("testFixture", "2304e7285ca1", "df48782b0b497325f116d6589ef4c112"),
]

ALWAYS = [
    *(0x00, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x20, 0x22, 0x23, 0x56, 0xD5),
    *(0x1012, 0x1013, 0x1022),
    *(code for code, _, _ in BLAKE2B + BLAKE2S),
]


def available(code: int, size: int) -> bytes:
    """A digest, or a skipped test."""
    has_package = code != multihash.BLAKE3 or importlib.util.find_spec("blake3") is not None
    if not has_package or (code != multihash.BLAKE3 and not multihash.is_known(code)):
        pytest.skip(f"hash function {code:#x} is not available here")
    return multihash.digest(code, b"foo", size)


@pytest.fixture
def fresh_functions() -> Iterator[None]:
    """What is looked up in this test is not remembered after it, and the other way round."""
    caches = (multihash.constructor, multihash.hasher, multihash._function)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.parametrize(("text", "expected"), GO_SUMS)
def test_multihashes_are_those_of_go(text: str, expected: str) -> None:
    code, digest = multihash.decode(bytes.fromhex(expected))
    assert multihash.digest(code, text.encode(), len(digest)) == digest
    assert multihash.encode(code, digest).hex() == expected


@pytest.mark.parametrize(("text", "expected"), OPTIONAL_SUMS)
def test_optional_functions_give_the_published_multihashes(text: str, expected: str) -> None:
    code, digest = multihash.decode(bytes.fromhex(expected))
    available(code, len(digest))
    assert multihash.digest(code, text.encode(), len(digest)) == digest


@pytest.mark.parametrize(("code", "size", "function"), BLAKE2B + BLAKE2S)
def test_blake2_codes_mean_a_digest_size(code: int, size: int, function: str) -> None:
    expected = getattr(hashlib, function)(b"carv2", digest_size=size).digest()
    assert multihash.default_size(code) == size
    assert multihash.digest(code, b"carv2") == expected
    assert multihash.digest(code, b"carv2", size - 1) == expected[:-1]
    assert multihash.hasher(code, size + 1) is None
    new = multihash.constructor(code, size)
    assert new is not None
    assert new(b"carv2").digest() == expected
    assert multihash.constructor(code, size - 1) is None


@pytest.mark.parametrize("code", [0xB200, 0xB261])
def test_numbers_beside_the_blake2_codes_are_no_hash_functions(code: int) -> None:
    assert not multihash.is_known(code)
    assert multihash.constructor(code, code - 0xB200) is None
    assert multihash.constructor(code, code - 0xB240) is None


@given(st.binary(max_size=200))
def test_trunc254_clears_the_top_two_bits_of_the_last_byte(data: bytes) -> None:
    full = int.from_bytes(hashlib.sha256(data).digest(), "little")
    expected = (full % (1 << 254)).to_bytes(32, "little")
    assert multihash.digest(multihash.SHA2_256_TRUNC254_PADDED, data) == expected


def test_trunc254_keeps_the_other_six_bits() -> None:
    ends = {multihash.digest(multihash.SHA2_256_TRUNC254_PADDED, bytes([n]))[-1] for n in range(256)}
    assert max(ends) < 0x40
    assert len(ends) > 48  # multiformats 0.3.1 masks with 0x11: four values


@pytest.mark.parametrize(("name", "first", "second"), [("470.txt", 0x00, 0x6E), ("742.txt", 0x00, 0xFF)])
def test_murmur3_puts_hamt_names_where_the_unixfs_specification_does(name: str, first: int, second: int) -> None:
    # https://specs.ipfs.tech/unixfs/, the HAMT example
    assert list(multihash.digest(multihash.MURMUR3_X64_64, name.encode())[:2]) == [first, second]


@pytest.mark.parametrize(("text", "murmur3_32", "murmur3_128"), JS_MURMUR3)
def test_murmur3_is_that_of_javascript(text: str, murmur3_32: str, murmur3_128: str) -> None:
    data = text.encode()
    short = multihash.encode(0x23, multihash.digest(multihash.MURMUR3_32, data))
    assert short.hex() == murmur3_32
    assert multihash.digest(multihash.MURMUR3_X64_128, data).hex() == murmur3_128
    assert multihash.digest(multihash.MURMUR3_X64_64, data).hex() == murmur3_128[:16]


@pytest.mark.parametrize(
    "name",
    [
        *("identity", "sha1", "sha2-256", "sha2-512", "sha3-224", "sha3-512", "shake-128", "shake-256"),
        *("md5", "dbl-sha2-256", "blake2b-256", "blake2s-256", "blake2b-8"),
    ],
)
@given(data=st.binary(max_size=300))
def test_multiformats_computes_the_same(name: str, data: bytes) -> None:
    code = multiformats.multicodec.get(name).code
    expected = multiformats.multihash.get(name).digest(data)
    assert multihash.encode(code, multihash.digest(code, data)) == expected


@pytest.mark.parametrize("code", ALWAYS)
@given(data=st.binary(max_size=300), at=st.integers(0, 100))
def test_every_function_takes_every_buffer_and_truncates(code: int, data: bytes, at: int) -> None:
    whole = multihash.digest(code, data)
    for buffer in (bytearray(data), memoryview(data), memoryview(b"x" + data)[1:]):
        assert multihash.digest(code, buffer) == whole
    size = min(at, len(whole))
    hasher = multihash.hasher(code, size)
    assert hasher is not None
    if code != multihash.IDENTITY:
        assert hasher(data) == whole[:size]


@pytest.mark.parametrize("code", ALWAYS)
@pytest.mark.parametrize("size", [1, 8, 20, 28, 32, 48, 64])
def test_a_constructor_gives_what_the_hasher_gives(code: int, size: int) -> None:
    new, hasher = multihash.constructor(code, size), multihash.hasher(code, size)
    if new is not None:
        assert hasher is not None
        assert new(memoryview(b"foo")).digest() == hasher(b"foo")
        assert len(hasher(b"foo")) == size


@pytest.mark.parametrize(
    ("code", "size"), [(0x12, 31), (0x12, 33), (0x00, 3), (0x18, 32), (0x56, 32), (0x22, 8), (0x9999, 32)]
)
def test_other_forms_have_no_constructor(code: int, size: int) -> None:
    assert multihash.constructor(code, size) is None


def test_identity_returns_the_data_whatever_the_size() -> None:
    hasher = multihash.hasher(multihash.IDENTITY, 99)
    assert hasher is not None
    assert hasher(memoryview(b"abc")) == b"abc"
    assert multihash.digest(multihash.IDENTITY, b"") == b""
    for size in (2, 4):
        with pytest.raises(ValueError, match=f"identity gives no digest of {size} bytes"):
            multihash.digest(multihash.IDENTITY, b"abc", size)
    with pytest.raises(ValueError, match="no digest size of its own"):
        multihash.default_size(multihash.IDENTITY)


@pytest.mark.parametrize("code", [code for code in ALWAYS if code not in {0x00, 0x18, 0x19}])
def test_a_digest_longer_than_the_function_gives_is_none_but_known(code: int) -> None:
    for size in (multihash.default_size(code) + 1, -1):
        assert multihash.hasher(code, size) is None
        with pytest.raises(ValueError, match=f"gives no digest of {size} bytes"):
            multihash.digest(code, b"", size)
    assert multihash.is_known(code)


@pytest.mark.parametrize(("code", "function"), [(0x18, "shake_128"), (0x19, "shake_256")])
def test_shake_gives_any_size(code: int, function: str) -> None:
    for size in (0, 1, 33, 65, 1000):
        assert multihash.digest(code, b"foo", size) == getattr(hashlib, function)(b"foo").digest(size)


def test_blake3_gives_1_to_128_bytes_as_in_go() -> None:
    assert available(multihash.BLAKE3, 128).startswith(available(multihash.BLAKE3, 32))
    assert multihash.default_size(multihash.BLAKE3) == 32
    assert multihash.hasher(multihash.BLAKE3, 0) is None
    assert multihash.hasher(multihash.BLAKE3, 129) is None


@pytest.mark.parametrize("code", [0x9999, 31, 0xB401, 0x70, 1 << 62])
def test_an_unknown_function_is_named_in_the_error(code: int) -> None:
    assert multihash.hasher(code, 32) is None
    assert not multihash.is_known(code)
    for call in (lambda: multihash.digest(code, b"", 32), lambda: multihash.default_size(code)):
        with pytest.raises(ValueError, match="is not available here"):
            call()


@pytest.mark.usefixtures("fresh_functions")
def test_a_missing_package_makes_its_functions_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("blake3", "mmh3", "multiformats.multihash.raw"):
        monkeypatch.setitem(sys.modules, module, None)  # importing it raises ImportError
    for code in (multihash.BLAKE3, multihash.MURMUR3_X64_64, multihash.MURMUR3_32, 0x1D01):
        assert not multihash.is_known(code)
        assert multihash.hasher(code, 4) is None
    assert multihash.is_known(multihash.SHA2_256)


@pytest.mark.usefixtures("fresh_functions")
def test_a_function_that_openssl_lacks_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def new(name: str, _data: bytes = b"") -> None:
        raise ValueError(f"unsupported hash type {name}")

    monkeypatch.setattr(hashlib, "new", new)
    monkeypatch.setitem(sys.modules, "multiformats.multihash.raw", None)
    assert multihash.constructor(multihash.RIPEMD_160, 20) is None
    assert not multihash.is_known(multihash.SHA2_512_256)


@pytest.mark.usefixtures("fresh_functions")
def test_other_functions_come_from_multiformats() -> None:
    def compute(data: bytes, size: int | None = None) -> bytes:
        return hashlib.sha384(b"x11" + data).digest()[:size]

    multiformats.multihash.raw.register("x11", compute, 48)
    try:
        assert multihash.default_size(0x1100) == 48
        assert multihash.digest(0x1100, memoryview(b"foo"), 20) == compute(b"foo", 20)
        assert multihash.hasher(0x1100, 49) is None
    finally:
        multiformats.multihash.raw.unregister("x11")


@given(code=st.integers(0, (1 << 63) - 1), digest=st.binary(max_size=300), position=st.integers(0, 1 << 40))
def test_a_multihash_comes_back_and_nothing_else_does(code: int, digest: bytes, position: int) -> None:
    raw = multihash.encode(code, digest)
    assert multihash.decode(raw) == (code, digest)
    with pytest.raises(FormatError) as longer:
        multihash.decode(raw + b"!", position=position)
    assert longer.value.position == position + len(raw)
    assert not isinstance(longer.value, TruncatedError)
    for cut in {0, 1, len(raw) // 2, len(raw) - 1}:
        with pytest.raises(TruncatedError) as shorter:
            multihash.decode(raw[:cut], position=position)
        assert shorter.value.position == position + cut


def test_a_cut_digest_says_how_much_of_it_is_there() -> None:
    with pytest.raises(TruncatedError) as caught:
        multihash.decode(bytes.fromhex("1220aabb"), position=100)
    assert (caught.value.field, caught.value.wanted, caught.value.got) == ("multihash digest", 32, 2)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_multihash_or_a_format_error(raw: bytes) -> None:
    with contextlib.suppress(FormatError):
        code, digest = multihash.decode(raw)
        assert multihash.encode(code, digest) == raw


def test_a_message_about_a_hash_function_is_a_sentence() -> None:
    for call, said in (
        (lambda: multihash.default_size(0), "hash function identity has no digest size of its own"),
        (lambda: multihash.default_size(0x9999), "hash function Code(39321) is not available here"),
        (lambda: multihash.digest(0x9999, b"", 4), "hash function Code(39321) is not available here"),
        (lambda: multihash.digest(0x12, b"", 33), "hash function sha2-256 gives no digest of 33 bytes here"),
    ):
        with pytest.raises(ValueError) as caught:
            call()
        assert str(caught.value) == said


SIZES = {  # of every function that is not blake2: its digest, and the sizes that it gives
    **{code: (size, range(size + 1)) for code, (_, size) in multihash._HASHLIB.items()},
    multihash.DBL_SHA2_256: (32, range(33)),
    multihash.SHA2_256_TRUNC254_PADDED: (32, range(33)),
    multihash.BLAKE3: (32, range(1, 129)),
    multihash.MURMUR3_X64_64: (8, range(9)),
    multihash.MURMUR3_X64_128: (16, range(17)),
    multihash.MURMUR3_32: (4, range(5)),
}


@pytest.mark.parametrize("code", SIZES)
def test_a_function_gives_the_sizes_it_is_to_give_and_no_other(code: int) -> None:
    own, sizes = SIZES[code]
    available(code, own)
    assert multihash.default_size(code) == own
    for size in range(-1, 131):
        hasher = multihash.hasher(code, size)
        assert (hasher is not None) == (size in sizes)
        if hasher is not None:
            assert len(hasher(b"foo")) == size


OWN_SIZES = {"md5": 16, "sha1": 20, "sha2-224": 28, "sha2-256": 32, "sha2-384": 48, "sha2-512": 64}
OWN_SIZES |= {f"sha3-{bits}": bits // 8 for bits in (224, 256, 384, 512)}
OWN_SIZES |= {f"keccak-{bits}": bits // 8 for bits in (224, 256, 384, 512)}
OWN_SIZES |= {"sha2-512-224": 28, "sha2-512-256": 32, "ripemd-160": 20, "sm3-256": 32}


def test_hashlibs_functions_are_known_by_the_numbers_of_the_multicodec_table() -> None:
    by_name = {multicodec.name_of(code): size for code, (_, size) in multihash._HASHLIB.items()}
    assert by_name == OWN_SIZES
    special = {multicodec.name_of(code) for code in multihash._SPECIAL}
    assert special == {
        *("shake-128", "shake-256", "dbl-sha2-256", "sha2-256-trunc254-padded", "blake3"),
        *("murmur3-x64-64", "murmur3-x64-128", "murmur3-32"),
    }
    assert (multihash._BLAKE2B_BASE, multihash._BLAKE2S_BASE) == (0xB200, 0xB240)
    assert [multicodec.name_of(code) for code in (0xB220, 0xB240, 0xB260)] == [
        multicodec.name_of(multihash.BLAKE2B_256),
        multicodec.name_of(multihash.BLAKE2B_512),
        multicodec.name_of(multihash.BLAKE2S_256),
    ]
    assert multicodec.name_of(multihash.IDENTITY) == "identity"


def test_a_number_outside_of_blake2_has_no_size_of_its_own() -> None:
    assert multihash._own_size(0xB200) < 0
    assert [multihash._own_size(code) for code in (0xB201, 0xB240, 0xB241, 0xB260)] == [1, 64, 1, 32]
    assert multihash._own_size(0xB261) < 0
    assert multihash.constructor(0x9999, -1) is None


@pytest.mark.parametrize("name", ["md5", "sha1"])
@pytest.mark.usefixtures("fresh_functions")
def test_weak_functions_say_that_they_are_not_for_security(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A FIPS build of OpenSSL refuses them otherwise."""
    real = getattr(hashlib, name)

    def strict(data: bytes = b"", *, usedforsecurity: bool = True) -> object:
        if usedforsecurity is not False:
            raise ValueError("disabled for FIPS")
        return real(data)

    monkeypatch.setattr(hashlib, name, strict)
    code = {"md5": multihash.MD5, "sha1": multihash.SHA1}[name]
    new = multihash.constructor(code, multihash._own_size(code))
    assert new is not None
    assert new(b"foo").digest() == real(b"foo").digest()


@pytest.mark.usefixtures("fresh_functions")
def test_a_foreign_function_of_any_size_has_32_bytes_unless_told() -> None:
    def compute(data: bytes, size: int | None = None) -> bytes:
        assert size is not None
        return hashlib.shake_256(data).digest(size)

    multiformats.multihash.raw.register("x11", compute, None)
    try:
        assert multihash.default_size(0x1100) == 32
        assert multihash.digest(0x1100, b"foo", 1000) == compute(b"foo", 1000)
    finally:
        multiformats.multihash.raw.unregister("x11")


@pytest.mark.usefixtures("fresh_functions")
def test_a_foreign_function_gives_all_sizes_up_to_its_own() -> None:
    def compute(data: bytes, size: int | None = None) -> bytes:
        return hashlib.sha384(data).digest()[:size]

    multiformats.multihash.raw.register("x11", compute, 48)
    try:
        assert [multihash.hasher(0x1100, size) is not None for size in (0, 47, 48, 49)] == [
            True,
            True,
            True,
            False,
        ]
    finally:
        multiformats.multihash.raw.unregister("x11")


@pytest.mark.parametrize(("code", "size"), [(0x12, 32), (0xB220, 32), (0x11, 20)])
def test_whole_digests_are_those_of_hashlib_itself(code: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not go by way of the functions that truncate."""
    multihash.hasher.cache_clear()
    monkeypatch.setattr(multihash, "_function", lambda code: pytest.fail(f"{code:#x} was looked up"))
    hasher = multihash.hasher(code, size)
    assert hasher is not None
    assert len(hasher(b"foo")) == size
    multihash.hasher.cache_clear()


OPENSSL_NAMES = {
    "md5": "md5",
    "sha1": "sha1",
    **{f"sha2-{bits}": f"sha{bits}" for bits in (224, 256, 384, 512)},
    **{f"sha3-{bits}": f"sha3_{bits}" for bits in (224, 256, 384, 512)},
    **{f"sha2-512-{bits}": f"sha512_{bits}" for bits in (224, 256)},
    **{f"keccak-{bits}": f"keccak-{bits}" for bits in (224, 256, 384, 512)},
    "ripemd-160": "ripemd160",
    "sm3-256": "sm3",
}


@pytest.mark.parametrize("name", OWN_SIZES)
@pytest.mark.usefixtures("fresh_functions")
def test_functions_go_by_their_names_in_hashlib(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether this build of OpenSSL has them or not; those with a name of their own are used as they are."""
    asked = set[str]()

    def new(wanted: str, data: bytes = b"", **_: object) -> object:
        asked.add(wanted)
        return hashlib.sha256(data)

    monkeypatch.setattr(hashlib, "new", new)
    made = multihash.constructor(multicodec.code_of(name), OWN_SIZES[name])
    own = getattr(hashlib, OPENSSL_NAMES[name], None)
    assert made is not None
    if own is None:
        assert asked == {OPENSSL_NAMES[name]}
    else:
        assert asked == set()
        assert getattr(made, "func", made) is own


def test_a_blake2_of_more_than_its_sizes_has_no_constructor() -> None:
    assert multihash.constructor(0xB241, 65) is None  # blake2s-8, or what would be blake2b-520
    assert multihash.constructor(0xB261, 33) is None


def test_the_position_of_an_error_counts_from_the_multihash_unless_told() -> None:
    with pytest.raises(TruncatedError) as caught:
        multihash.decode(b"")
    assert caught.value.position == 0
