"""Every archive that another program made: what it is known to hold, in one table."""

from __future__ import annotations

import hashlib
import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import pytest

from carv2.cid import CID
from carv2.errors import CarError, FormatError, IntegrityError, LimitError, TruncatedError, VersionError
from carv2.index import IndexBuilder, parse
from carv2.reader import CarReader, read_version
from helpers.binary import assert_bytes_equal
from helpers.feeding import by_decoder, by_indexing, by_reader, by_sections, split_at
from helpers.shared import shared_fixture, shared_folder

if TYPE_CHECKING:
    from pathlib import Path

GO, CLI, SPEC, GATEWAY = "go-car", "go-car-cli", "spec", "gateway-conformance"
R0 = "bafy2bzaced4ueelaegfs5fqu4tzsh6ywbbpfk3cxppupmxfdhbpbhzawfw5oy"
UNIXFS = "QmPLPpnptHc1DMhJAWNYMTqBTqqRQNy5WsY7F9pZgsBfMT"
WIKIPEDIA = "bafybeiaysi4s6lnjev27ln5icwm6tueaw2vdykrtjkwiphwekaywqhcjze"
FISH_ROOTS = (
    "bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu",
    "bafkreifc4hca3inognou377hfhvu2xfchn2ltzi7yu27jkaeujqqqdbjju",
    "bafkreig5lvr4l6b4fr3un4xvzeyt3scevgsqjgrhlnwxw2unwbn5ro276u",
)
SPEC_ROOTS = (
    "bafyreihyrpefhacm6kkp4ql6j6udakdit7g3dmkzfriqfykhjw6cad5lrm",
    "bafyreidj5idub6mapiupjwjsyyxhyhedxycv4vihfsicm2vt46o7morwlm",
)
Index: TypeAlias = "tuple[int, list[tuple[int | None, int, int]]]"
"""Codec; hash code, digest size and count of each bucket."""

BLAKE2B_GROUP: Index = (0x0401, [(0xB220, 32, 1043)])
SHA2_GROUP: Index = (0x0401, [(0x12, 32, 3)])


class File(NamedTuple):
    """A row: what a file is and gives; ``fault`` is the error that ends it, and where."""

    name: str
    size: int
    sha256: str
    blocks: int
    roots: tuple[str, ...]
    header: tuple[int, int, int] | None = None
    stored_index: Index | None = None
    fault: tuple[type[CarError], int] | None = None


READABLE = [
    File(f"{GO}/sample-v1.car", 479907, "a94c3765", 1049, (R0,)),
    File(f"{GO}/sample-v1-noidentity.car", 479743, "3e619d6a", 1043, (R0,)),
    File(
        f"{GO}/sample-v1-tailing-corrupt-section.car",
        479894,
        "7a7e805e",
        1048,
        (R0,),
        fault=(TruncatedError, 479894),
    ),
    File(
        f"{GO}/sample-v1-with-zero-len-section.car",
        481955,
        "78660600",
        1049,
        (R0,),
        fault=(FormatError, 479907),
    ),
    File(
        f"{GO}/sample-v1-with-zero-len-section2.car",
        32512,
        "ad45335a",
        20,
        ("bafykbzaceapvx4wxbe3bfc5neit43wl22pruy2ysk7wv763iuyyxcffj3te56",),
        fault=(FormatError, 20819),
    ),
    File(f"{GO}/sample-wrapped-v2.car", 521708, "0e412362", 1049, (R0,), (51, 479907, 479958), BLAKE2B_GROUP),
    File(f"{GO}/sample-v2-indexless.car", 479958, "4c1b83a2", 1049, (R0,), (51, 479907, 0)),
    File(f"{GO}/sample-rw-bs-v2.car", 1887, "e38340d9", 3, FISH_ROOTS, (1464, 273, 1737), SHA2_GROUP),
    File(
        f"{GO}/sample-unixfs-v2.car",
        485,
        "d853bb97",
        3,
        ("bafybeiakgrehdxxgy5kca72znt6jllrj2sqkehtqeojfuxlbeuqg3vfkwq",),
        (51, 284, 335),
        SHA2_GROUP,
    ),
    File(f"{CLI}/sample-v1.car", 479907, "a94c3765", 1049, (R0,)),
    File(f"{CLI}/sample-wrapped-v2.car", 521708, "0e412362", 1049, (R0,), (51, 479907, 479958), BLAKE2B_GROUP),
    File(f"{CLI}/badsectionlength.car", 70, "04d1540e", 0, (), fault=(LimitError, 18)),
    File(f"{CLI}/simple-unixfs.car", 1933, "48992440", 22, (UNIXFS,)),
    File(f"{CLI}/simple-unixfs-missing-blocks.car", 1620, "56b66c96", 17, (UNIXFS,)),
    File(f"{CLI}/wikipedia-cryptographic-hash-function.car", 161731, "7e0b7d76", 5, (WIKIPEDIA,)),
    File(f"{SPEC}/carv1-basic.car", 715, "543ff9c4", 8, SPEC_ROOTS),
    File(
        f"{SPEC}/carv2-basic.car",
        715,
        "51f2b35c",
        5,
        ("QmfEoLyB5NndqeKieExd1rtJzTduQUPEV8TwAYcUiy3H5Z",),
        (51, 448, 499),
        (0x0400, [(None, 32, 5)]),
    ),
    File(
        f"{GATEWAY}/dir_listing/fixtures.car",
        1053,
        "596430a2",
        10,
        ("bafybeig6ka5mlwkl4subqhaiatalkcleo4jgnr3hqwvpmsqfca27cijp3i",),
    ),
    File(
        f"{GATEWAY}/gateway-cache/fixtures.car",
        468,
        "5b35b88e",
        5,
        ("bafybeib3ffl2teiqdncv3mkz4r23b5ctrwkzrrhctdbne6iboayxuxk5ui",),
    ),
    File(
        f"{GATEWAY}/gateway-raw-block.car",
        309,
        "6cbc9090",
        3,
        ("bafybeie72edlprgtlwwctzljf6gkn2wnlrddqjbkxo3jomh4n7omwblxly",),
    ),
    File(
        f"{GATEWAY}/path_gateway_dag/dag-cbor-traversal.car",
        318,
        "1aadf249",
        3,
        ("bafyreibs4utpgbn7uqegmd2goqz4bkyflre2ek2iwv743fhvylwi4zeeim",),
    ),
    File(
        f"{GATEWAY}/path_gateway_dag/dag-json-traversal.car",
        406,
        "8fed19e4",
        3,
        ("baguqeeram5ujjqrwheyaty3w5gdsmoz6vittchvhk723jjqxk7hakxkd47xq",),
    ),
    File(
        f"{GATEWAY}/path_gateway_dag/dag-pb.car",
        392,
        "7c0f65e3",
        4,
        ("bafybeiegxwlgmoh2cny7qlolykdf7aq7g6dlommarldrbm7c4hbckhfcke",),
    ),
    File(
        f"{GATEWAY}/path_gateway_dag/gateway-json-cbor.car",
        1179,
        "46b43445",
        11,
        ("bafybeiafyvqlazbbbtjnn6how5d6h6l6rxbqc4qgpbmteaiskjrffmyy4a",),
    ),
    File(
        f"{GATEWAY}/path_gateway_dag/plain-cbor-that-can-be-dag-cbor.car",
        140,
        "13b447e5",
        1,
        ("bafireidluuxmsc4uzpqkcq547wavvod7rrq2v7yixuvdy2qu3eqkbvycsu",),
    ),
    File(
        f"{GATEWAY}/path_gateway_dag/plain-cbor-that-can-be-dag-json.car",
        150,
        "f331b348",
        1,
        ("bagaaieraonzu3mlwidrcjnpqd2ibmjiiycnfucdzotvjq5ajubwnkmlzomrq",),
    ),
    File(
        f"{GATEWAY}/path_gateway_dag/plain-cbor.car",
        113,
        "b0439a93",
        1,
        ("bafireif3aymeikgfbofx533yf5vlx4kimzq6zmzmpra2mnzfsfnmv4hchm",),
    ),
    File(
        f"{GATEWAY}/path_gateway_dag/plain-json.car",
        124,
        "2cbf4099",
        1,
        ("bagaaierajjsnhsxqlgfrvknlt7z2heoljcgfv37cn45tu7mhmr23x3ekiboq",),
    ),
    File(
        f"{GATEWAY}/path_gateway_unixfs/dir-with-files.car",
        1939,
        "52ba43df",
        9,
        ("bafybeihchr7vmgjaasntayyatmp5sv6xza57iy2h4xj7g46bpjij6yhrmy",),
    ),
    File(
        f"{GATEWAY}/path_gateway_unixfs/dir-with-percent-encoded-filename.car",
        261,
        "1b3ce044",
        2,
        ("bafybeig675grnxcmshiuzdaz2xalm6ef4thxxds6o6ypakpghm5kghpc34",),
    ),
    File(
        f"{GATEWAY}/path_gateway_unixfs/symlink.car",
        282,
        "e7d27d5c",
        3,
        ("QmWvY6FaqFMS89YAQ9NAPjVP4WZKA1qbHbicc9HeSKQTgt",),
    ),
]

UNREADABLE = [
    (f"{GO}/sample-corrupt-pragma.car", TruncatedError, 16, None),
    (f"{GO}/sample-rootless-v42.car", VersionError, 0, 42),
    (f"{GO}/sample-v2-corrupt-data-and-index.car", FormatError, 27, 2),
    (f"{CLI}/badheaderlength.car", LimitError, 0, None),
]


def named(row: File) -> str:
    return row.name


INTACT = [row for row in READABLE if row.fault is None]


def test_the_table_has_a_row_for_every_archive_there_is() -> None:
    folder = shared_fixture("")
    found = {str(path.relative_to(folder)) for path in folder.rglob("*.car")}
    assert found == {row.name for row in READABLE} | {name for name, *_ in UNREADABLE}


@pytest.mark.parametrize("row", READABLE, ids=named)
def test_a_file_holds_what_is_known_of_it(row: File) -> None:
    path = shared_fixture(row.name)
    raw = path.read_bytes()
    assert (len(raw), hashlib.sha256(raw).hexdigest()[:8]) == (row.size, row.sha256)
    car = CarReader(path)
    assert car.version == (1 if row.header is None else 2)
    assert tuple(map(str, car.roots)) == row.roots
    if row.header is not None:
        assert car.header is not None
        assert tuple(car.header) == (*row.header, 0)
    by_blocks, by_place = by_reader(path), by_sections(path)
    assert len(by_blocks.items) == len(by_place.items) == row.blocks
    for outcome in (by_blocks, by_place):
        fault = None if outcome.error is None else (outcome.kind, outcome.position)
        assert fault == row.fault


@pytest.mark.parametrize("row", READABLE, ids=named)
def test_the_push_parser_agrees_with_the_reader(row: File) -> None:
    path = shared_fixture(row.name)
    raw = path.read_bytes()
    expected = by_reader(path).summary
    assert by_decoder([raw]).summary == expected
    assert by_decoder(split_at(raw, range(1000, len(raw), 4097))).summary == expected


@pytest.mark.parametrize("row", INTACT, ids=named)
def test_sections_are_where_the_blocks_are(row: File) -> None:
    path = shared_fixture(row.name)
    raw = path.read_bytes()
    car = CarReader(path)
    blocks = list(car)
    end = car.payload_position + car.first_section
    for section, block in zip(car.sections(), blocks, strict=True):
        assert section.position == end == car.payload_position + section.offset
        assert raw[section.data_position : section.data_position + section.size] == block.data
        assert car.section_at(section.offset) == section
        end = section.data_position + section.size
    assert end == car.payload_end


@pytest.mark.parametrize("row", [row for row in READABLE if row.stored_index], ids=named)
def test_the_stored_index_leads_to_every_block(row: File) -> None:
    car = CarReader(shared_fixture(row.name))
    assert car.index is not None
    assert row.stored_index is not None
    assert (car.index.codec, [(c, b.digest_size, len(b)) for c, b in car.index.buckets()]) == row.stored_index
    sections = [section for section in car.sections() if not section.cid.is_identity]
    assert len(sections) == len(car.index)
    for section in sections:
        assert list(car.index.offsets_of(section.cid)) == [section.offset]
        assert car.find(section.cid) == section


@pytest.mark.parametrize("row", [row for row in READABLE if row.stored_index], ids=named)
def test_the_stored_index_is_the_one_that_we_build(row: File) -> None:
    path = shared_fixture(row.name)
    car = CarReader(path)
    assert car.header is not None
    stored = path.read_bytes()[car.header.index_offset :]
    assert car.index is not None
    builder = IndexBuilder(car.index.codec)
    for section in car.sections():
        builder.add(section.cid, section.offset)
    built = builder.to_bytes()
    headless = row.name == f"{SPEC}/carv2-basic.car"
    assert car.index.is_headless == headless
    assert_bytes_equal(built[2:] if headless else built, stored)
    assert_bytes_equal(car.index.to_bytes(), built)


@pytest.mark.parametrize(("name", "kind", "position", "version"), UNREADABLE)
def test_what_cannot_be_opened_says_why_and_where(
    name: str, kind: type[FormatError], position: int, version: int | None
) -> None:
    path = shared_fixture(name)
    for outcome in (by_reader(path), by_decoder([path.read_bytes()])):
        assert (outcome.kind, outcome.position) == (kind, position)
    if version is not None:
        assert read_version(path) == version


def test_the_offset_that_go_car_calls_negative_is_named_unsigned() -> None:
    with pytest.raises(FormatError, match="data offset 18446744073709550254"):
        CarReader(shared_fixture(f"{GO}/sample-v2-corrupt-data-and-index.car"))


@pytest.mark.parametrize("name", ["sample-v1-with-zero-len-section.car", "sample-v1-with-zero-len-section2.car"])
def test_null_padding_is_the_end_when_asked_for(name: str) -> None:
    path = shared_fixture(f"{GO}/{name}")
    expected = by_reader(path).items
    for outcome in (by_reader(path, null_padding=True), by_decoder([path.read_bytes()], null_padding=True)):
        assert outcome == (expected, None)
    assert len(by_sections(path, null_padding=True).items) == len(expected)
    assert by_sections(path, null_padding=True).error is None


def test_the_sample_that_is_padded_gives_the_sample_without() -> None:
    padded = by_reader(shared_fixture(f"{GO}/sample-v1-with-zero-len-section.car"), null_padding=True)
    assert padded == by_reader(shared_fixture(f"{GO}/sample-v1.car"))


def test_the_sample_payload_is_what_its_description_says() -> None:
    car = CarReader(shared_fixture(f"{GO}/sample-v1.car"))
    assert car.first_section == 61
    sizes = [section.size for section in car.sections()]
    assert (min(sizes), sum(sizes) // len(sizes), max(sizes)) == (1, 417, 1342)
    assert [section.size for section in car.sections()][:5] == [821, 1053, 1094, 1051, 821]
    cids = [section.cid for section in car.sections()]
    assert str(cids[1]) == "bafy2bzaceaycv7jhaegckatnncu5yugzkrnzeqsppzegufr35lroxxnsnpspu"
    lengths = [len(bytes(cid)) for cid in cids]
    assert (min(lengths), sum(lengths) // len(lengths), max(lengths)) == (14, 37, 38)
    assert sorted(cid.digest.decode() for cid in cids if cid.is_identity) == [
        "fil/1/account",
        "fil/1/cron",
        "fil/1/init",
        "fil/1/market",
        "fil/1/miner",
        "fil/1/power",
    ]


def test_the_wrapped_sample_holds_the_sample() -> None:
    wrapped = shared_fixture(f"{GO}/sample-wrapped-v2.car").read_bytes()
    assert_bytes_equal(wrapped[51:479958], shared_fixture(f"{GO}/sample-v1.car").read_bytes())


def test_a_block_that_go_car_took_out_is_the_one_that_we_find() -> None:
    name = "bafy2bzacebohz654namrgmwjjx4qmtwgxixsd7pn4tlanyrc3g3hwj75hlxrw"
    data = shared_fixture(f"{CLI}/{name}.block").read_bytes()
    for archive in ("sample-v1.car", "sample-wrapped-v2.car"):
        assert CarReader(shared_fixture(f"{CLI}/{archive}")).get(name) == data


def test_the_blockstore_sample_has_its_blocks_behind_the_padding() -> None:
    car = CarReader(shared_fixture(f"{GO}/sample-rw-bs-v2.car"))
    assert [block.data for block in car] == [b"fish", b"lobster", b"barreleye"]
    assert [section.offset for section in car.sections()] == [142, 183, 227]
    assert [section.position for section in car.sections()] == [1606, 1647, 1691]


# -- detached indexes ---------------------------------------------------------------------------------------


def test_the_detached_index_with_identity_is_the_one_that_we_build() -> None:
    raw = shared_fixture(f"{GO}/sample-index.carindex").read_bytes()
    index = parse(raw)
    assert [(b.digest_size + 8, len(b)) for _, b in index.buckets()] == [
        (18, 2),
        (19, 2),
        (20, 1),
        (21, 1),
        (40, 1043),
    ]
    builder = IndexBuilder(0x0400, identity=True)
    for section in CarReader(shared_fixture(f"{GO}/sample-v1.car")).sections():
        builder.add(section.cid, section.offset)
        assert list(index.offsets_of(section.cid)) == [section.offset]
    assert_bytes_equal(builder.to_bytes(), raw)
    assert_bytes_equal(index.to_bytes(), raw)


def test_the_detached_multihash_index_is_that_of_the_wrapped_sample() -> None:
    raw = shared_fixture(f"{GO}/sample-multihash-index-sorted.carindex").read_bytes()
    wrapped = shared_fixture(f"{GO}/sample-wrapped-v2.car").read_bytes()
    assert_bytes_equal(raw, wrapped[479958:])
    assert_bytes_equal(parse(raw).to_bytes(), raw)
    assert next(parse(raw).offsets_of(R0)) == 61


# -- inputs that fuzzing found ------------------------------------------------------------------------------

_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, '"': 34, "'": 39}
_TOKEN = re.compile(
    r"\\x([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})|\\([0-7]{3})|\\(.)|([^\\])",
    re.DOTALL,
)


def go_bytes(text: str) -> bytes:
    """The argument of Go's ``[]byte("...")``, as a fuzz corpus writes it."""
    out = b""
    for byte, short, long, octal, escape, plain in _TOKEN.findall(text):
        if byte:
            out += bytes.fromhex(byte)
        elif short or long:
            out += chr(int(short or long, 16)).encode()
        elif octal:
            out += bytes([int(octal, 8)])
        else:
            out += bytes([_ESCAPES[escape]]) if escape else plain.encode()
    return out


def corpus() -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for path in sorted((shared_folder() / "fixtures" / GO / "fuzz").glob("*/*")):
        version, *lines = path.read_text().splitlines()
        assert version == "go test fuzz v1"
        for line in lines:
            match = re.fullmatch(r'\[\]byte\("(.*)"\)', line)
            assert match is not None
            found.append((f"{path.parent.name}-{path.name[:8]}", go_bytes(match[1])))
    return found


CORPUS = corpus()


def test_the_text_form_of_a_go_corpus_is_understood() -> None:
    assert go_bytes(r"\x00\a\n\"\\A\u00e4\101" + "é") == b'\x00\x07\n"\\A' + "ä".encode() + b"A" + "é".encode()


def test_the_corpora_are_there_whole() -> None:
    shared_fixture(f"{GO}/fuzz")
    assert sorted(name for name, _ in CORPUS) == [
        "FuzzBlockReader-c3c7eede",
        "FuzzReader-c640dd07",
        "FuzzReader-e1d7f87e",
        "FuzzReader-fe93cec1",
    ]
    assert dict(CORPUS)["FuzzBlockReader-c3c7eede"][:6].hex() == "ff80aa95a673"


EXPECTED_FAULTS: dict[str, tuple[type[CarError], ...]] = {
    "FuzzBlockReader-c3c7eede": (LimitError,),
    "FuzzReader-c640dd07": (FormatError,),
    "FuzzReader-e1d7f87e": (FormatError,),
    "FuzzReader-fe93cec1": (IntegrityError, FormatError),
}


@pytest.mark.parametrize(("name", "data"), CORPUS, ids=[name for name, _ in CORPUS])
def test_a_fuzzed_input_is_refused_at_once_and_only_with_our_errors(
    name: str, data: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "fuzzed.car"
    path.write_bytes(data)
    start = time.perf_counter()
    outcomes = [by_reader(data), by_reader(path), by_decoder([data]), by_sections(data), by_indexing(data)]
    assert isinstance(outcomes[0].error, EXPECTED_FAULTS[name])
    assert outcomes[0].summary == outcomes[1].summary == outcomes[2].summary
    read_index(data)
    assert time.perf_counter() - start < 2


def read_index(data: bytes) -> Any:
    try:
        return CarReader(data).index
    except CarError as error:
        return error


@pytest.mark.parametrize("at", range(0, 1247, 13))
def test_a_fuzzed_input_cut_short_is_refused_only_with_our_errors(at: int) -> None:
    for _, data in CORPUS:
        if at < len(data):
            by_reader(data[:at])
            by_indexing(data[at:])
            read_index(data[:at])


def test_a_cid_of_the_sample_is_equal_to_its_text() -> None:
    first = next(CarReader(shared_fixture(f"{GO}/sample-v1.car")).sections()).cid
    assert first == CID.of(R0)
