"""Archives as text: go-car's form to the byte, there and back, edited, and wrong."""

from __future__ import annotations

import io
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import carv2
from carv2 import CID, CarError, FormatError
from carv2.codec import dag_json, dag_pb
from carv2.errors import CodecError, IntegrityError, LimitError, UnknownCodecError
from carv2.operations.patch import PatchReport, from_patch, to_patch
from codec.values import VALUES, canonical
from helpers import archives
from helpers.archives import cid_v0, cid_v1, identity, node
from helpers.shared import shared_fixture

if TYPE_CHECKING:
    from pathlib import Path

LEAF = cid_v1(b"leaf\n"), b"leaf\n"
MIDDLE = node(LEAF[0])
TOP = node(MIDDLE[0], LEAF[0])
DAG = archives.v1([TOP[0], LEAF[0]], [TOP, MIDDLE, LEAF])


def text_of(archive: Any, **options: Any) -> bytes:
    return b"".join(to_patch(archive, **options))


def made_of(text: Any, **options: Any) -> tuple[PatchReport, bytes]:
    sink = io.BytesIO()
    return from_patch(text, sink, **options), sink.getvalue()


def shown(cid: bytes, data: bytes) -> bytes:
    """The lines of one block, as they stand behind the head."""
    return text_of(archives.v1([], [(cid, data)])).split(b"\n", 1)[1]


def test_the_text_is_the_one_of_car_debug() -> None:
    top, middle, leaf = (str(CID(block[0])) for block in (TOP, MIDDLE, LEAF))
    assert text_of(DAG, name="dag.car").decode().split("\n") == [
        "car compile dag.car",
        f"root {top}",
        f"root {leaf}",
        *(f"--- {top}", f"+++ dag-json {top}", "@@ -0,8 +0,8 @@"),
        *("[", "\t{", f'\t\t"/": "{middle}"', "\t},", "\t{", f'\t\t"/": "{leaf}"', "\t}", "]", ""),
        *(f"--- {middle}", f"+++ dag-json {middle}", "@@ -0,5 +0,5 @@"),
        *("[", "\t{", f'\t\t"/": "{leaf}"', "\t}", "]", ""),
        *(f"--- {leaf}", f"+++ raw {leaf}", "@@ -0,1 +0,1 @@"),
        *("leaf", "", ""),
    ]


def test_a_carv2_says_so_and_becomes_one_again() -> None:
    text = text_of(archives.v2(DAG, data_padding=7))
    assert text.startswith(b"car compile --v2 -\n")
    report, made = made_of(text)
    assert (report.version, report.block_count, report.changed) == (2, 3, {})
    with carv2.open(made) as car:
        assert car.version == 2
        assert car.index is not None
        assert [tuple(block) for block in car] == [TOP, MIDDLE, LEAF]
    assert made_of(text, version=1)[1] == DAG


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (b"text", b"raw (no-end-cr)"),
        (b"text\n", b"raw"),
        (b"a\nb\n\n", b"raw"),
        (b"\n", b"raw"),
        (b"", b"raw (no-end-cr)"),
        (b"\r\n", b"raw"),
        (b"tab\t\x0b\x0c\x0e\x0f\x15\x1a\x1b\x7f", b"raw (no-end-cr)"),  # odd, but go-car's idea of text
        ("é\u2028".encode(), b"raw (no-end-cr)"),
        (b"a\x00", b"dag-json"),
        (b"a\x08", b"dag-json"),
        (b"a\xff", b"dag-json"),
        (b"a\n--- b", b"dag-json"),
        (b"--- a", b"dag-json"),  # go-car takes it for the next block
        (b"a\r", b"dag-json"),  # and cuts this one
        (b"+++ a\n@@ b\nroot c", b"raw (no-end-cr)"),
    ],
)
def test_readable_bytes_stand_as_they_are_and_others_as_dag_json(data: bytes, form: bytes) -> None:
    cid = cid_v1(data)
    lines = shown(cid, data)
    assert lines.split(b"\n")[1] == b"+++ " + form + b" " + str(CID(cid)).encode()
    archive = archives.v1([cid], [(cid, data), LEAF])
    assert made_of(text_of(archive))[1] == archive


def _carried(value: Any) -> bool:
    try:
        dag_json.encode(value)
    except ValueError:
        return False
    return True


@given(st.lists(VALUES.filter(_carried), max_size=4), st.lists(st.binary(max_size=30), max_size=3), st.booleans())
def test_any_canonical_archive_comes_back(values: list[Any], leaves: list[bytes], is_v2: bool) -> None:
    blocks = [(cid_v1(data, codec=0x71), data) for data in map(canonical, values)]
    blocks += [(cid_v1(data), data) for data in leaves]
    blocks += [(identity(data, codec=0x300001), data) for data in leaves]  # of a codec that nobody knows
    blocks += [(cid_v0(data), data) for data in (dag_pb.encode(dag_pb.PBNode([], leaf)) for leaf in leaves)]
    archive = archives.v1([cid for cid, _ in blocks[:2]], blocks)
    inexact: list[CID] = []
    text = text_of(archives.v2(archive) if is_v2 else archive, on_inexact=inexact.append)
    report, made = made_of(text, version=1)
    assert (inexact, report.changed) == ([], {})
    assert made == archive


@pytest.mark.parametrize(
    "name",
    [
        "gateway-conformance/dir_listing/fixtures.car",
        "gateway-conformance/path_gateway_dag/dag-cbor-traversal.car",
        "gateway-conformance/path_gateway_dag/dag-json-traversal.car",
        "gateway-conformance/path_gateway_dag/dag-pb.car",
        "gateway-conformance/path_gateway_dag/gateway-json-cbor.car",
        "gateway-conformance/path_gateway_dag/plain-cbor.car",
        "gateway-conformance/path_gateway_unixfs/symlink.car",
        "go-car-cli/simple-unixfs.car",
        "go-car-cli/wikipedia-cryptographic-hash-function.car",
        "go-car/sample-rw-bs-v2.car",
        "go-car/sample-unixfs-v2.car",
        "spec/carv1-basic.car",
        "spec/carv2-basic.car",
    ],
)
def test_other_programs_archives_come_back(name: str) -> None:
    inexact: list[CID] = []
    report, made = made_of(text_of(shared_fixture(name), on_inexact=inexact.append))
    with carv2.open(shared_fixture(name)) as old, carv2.open(made) as new:
        assert (old.version, tuple(old.roots)) == (new.version, tuple(new.roots)) == (report.version, report.roots)
        assert list(old) == list(new)
    assert inexact == []


@pytest.mark.parametrize("form", [iter, list, io.BytesIO, bytes.decode, bytearray, memoryview])
def test_the_text_may_come_in_any_form(form: Any) -> None:
    pieces = list(to_patch(DAG, name="ß\udcff.car"))
    whole = b"".join(pieces).replace(b"\xff", b"")
    assert made_of(form(pieces if form in {iter, list} else whole))[1] == DAG


def test_a_name_that_is_no_utf_8_does_not_keep_a_str_from_being_read() -> None:
    whole = text_of(DAG, name="\udcff.car")
    assert made_of(whole.decode("utf-8", "surrogateescape"))[1] == DAG


@pytest.mark.parametrize("bad", [5, None, ["text"], [1]])
def test_what_is_no_text_is_said_to_be_none(bad: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="str, bytes, or pieces"):
        from_patch(bad, tmp_path / "out.car")
    assert not list(tmp_path.iterdir())


def test_the_text_is_let_go_of_before_the_archive_is_written(tmp_path: Path) -> None:
    leaves = [bytes((65 + number,)) * 100_000 for number in range(10)]
    whole = text_of(archives.v1([], [(cid_v1(leaf), leaf) for leaf in leaves]))
    tracemalloc.start()
    try:
        from_patch((whole[at : at + 50_000] for at in range(0, len(whole), 50_000)), tmp_path / "out", version=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.6 * len(whole)  # the text and its blocks, or the blocks and the archive, and one block more


def test_an_edit_changes_the_cids_above_it_and_the_roots() -> None:
    report, made = made_of(text_of(DAG).replace(b"\nleaf\n", b"\nfallen leaf\n"))
    leaf = cid_v1(b"fallen leaf\n"), b"fallen leaf\n"
    middle = node(leaf[0])
    top = node(middle[0], leaf[0])
    assert made == archives.v1([top[0], leaf[0]], [top, middle, leaf])
    assert report.changed == {
        CID(old[0]): CID(new[0]) for old, new in zip([TOP, MIDDLE, LEAF], [top, middle, leaf], strict=True)
    }


def test_a_text_that_only_mentions_a_cid_is_left_alone() -> None:
    name = str(CID(LEAF[0]))
    mention = name.encode()
    letter = cid_v1(mention), mention
    quote = canonical([name, CID(LEAF[0])])
    archive = archives.v1([], [letter, (cid_v1(quote, codec=0x71), quote), LEAF])
    _, made = made_of(text_of(archive).replace(b"\nleaf\n", b"\nnew\n"))
    with carv2.open(made) as car:
        first, second, _ = list(car)
    assert first.data == mention
    assert second.decode() == [name, CID(cid_v1(b"new\n"))]


def test_versions_codecs_hashes_and_digest_sizes_of_cids_stay() -> None:
    import hashlib

    def cut(data: bytes) -> bytes:
        return cid_v1(data, codec=0x0129, code=0xB220, digest=hashlib.blake2b(data, digest_size=32).digest())

    inner = b'["in"]'
    pb = dag_pb.encode(dag_pb.PBNode([dag_pb.PBLink(identity(inner, codec=0x0129), "i", 6)], b""))
    outer = b'[{"/":"%s"}]' % str(CID(cid_v0(pb))).encode()
    archive = archives.v1(
        [cut(outer)], [(cut(outer), outer), (cid_v0(pb), pb), (identity(inner, codec=0x0129), inner)]
    )
    assert made_of(text_of(archive))[1] == archive
    report, made = made_of(text_of(archive).replace(b'"in"', b'"inner"'))
    inner = b'["inner"]'
    pb = dag_pb.encode(dag_pb.PBNode([dag_pb.PBLink(identity(inner, codec=0x0129), "i", 6)], b""))
    outer = b'[{"/":"%s"}]' % str(CID(cid_v0(pb))).encode()
    assert made == archives.v1(
        [cut(outer)], [(cut(outer), outer), (cid_v0(pb), pb), (identity(inner, codec=0x0129), inner)]
    )
    assert report.roots == (CID(cut(outer)),)


def test_a_deep_chain_is_no_recursion() -> None:
    blocks = [LEAF]
    for _ in range(3000):
        blocks.append(node(blocks[-1][0]))
    blocks.reverse()
    report, made = made_of(text_of(archives.v1([blocks[0][0]], blocks)).replace(b"\nleaf\n", b"\nother\n"))
    assert len(report.changed) == len(blocks)
    carv2.verify(made)


def test_a_block_that_comes_twice_comes_twice_again() -> None:
    archive = archives.v1([LEAF[0]], [LEAF, TOP, LEAF])
    text = text_of(archive)
    assert made_of(text)[1] == archive
    with pytest.raises(FormatError, match="twice"):
        made_of(text.replace(b"\nleaf\n", b"\nother\n", 1))


NOT_CANONICAL = {
    "keys that are not in order": (0x71, b"\xa2\x61b\x01\x61a\x02"),
    "text that is not UTF-8": (0x71, b"\x61\xff"),
    "spaces": (0x0129, b"[1, 2]"),
    "data before links": (0x70, b"\x0a\x00\x12\x26\x0a\x24" + LEAF[0]),
    "a name that is not UTF-8": (0x70, b"\x12\x29\x0a\x24" + LEAF[0] + b"\x12\x01\xff"),
}


@pytest.mark.parametrize(("code", "data"), NOT_CANONICAL.values(), ids=NOT_CANONICAL.keys())
def test_a_block_that_is_not_canonical_is_told_and_gets_another_cid(code: int, data: bytes) -> None:
    cid = cid_v1(data, codec=code)
    inexact: list[CID] = []
    report, made = made_of(text_of(archives.v1([cid], [(cid, data)]), on_inexact=inexact.append))
    assert inexact == [CID(cid)] == list(report.changed)
    carv2.verify(made)
    again: list[CID] = []
    assert made_of(text_of(made, on_inexact=again.append))[1] == made
    assert again == []


def test_keys_that_differ_only_in_what_is_no_utf_8_are_shown_and_told() -> None:
    data = b"\xa2\x61\xfe\x01\x61\xff\x02"
    cid = cid_v1(data, codec=0x71)
    inexact: list[CID] = []
    text = text_of(archives.v1([], [(cid, data)]), on_inexact=inexact.append)
    assert text.count(b'"\\ufffd": ') == 2
    assert inexact == [CID(cid)]
    with pytest.raises(FormatError, match="twice"):
        made_of(text)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_other_line_ends_and_none_at_the_end_are_fine(end: bytes) -> None:
    text = text_of(archives.v1([TOP[0]], [TOP, (cid_v1(b"end"), b"end")]))
    assert text.endswith(b"end\n")
    changed = text.removesuffix(b"\n").replace(b"\n", end or b"\n") + end
    assert made_of(changed)[1] == archives.v1([TOP[0]], [TOP, (cid_v1(b"end"), b"end")])


def test_an_editors_newline_at_the_end_is_not_part_of_a_block_without_one() -> None:
    text = text_of(archives.v1([], [(cid_v1(b"end"), b"end")]))
    assert made_of(text + b"\n")[1] == archives.v1([], [(cid_v1(b"end"), b"end")])


def test_old_go_cars_name_of_the_form_is_known() -> None:
    text = text_of(DAG).replace(b"+++ dag-json ", b"+++ json ")
    assert made_of(text)[1] == DAG


HEAD = b"car compile x.car\n"
NAME = str(CID(LEAF[0])).encode()
BLOCK = b"--- " + NAME + b"\n+++ raw " + NAME + b"\n@@ -0,1 +0,1 @@\nleaf\n\n"

WRONG = {
    "nothing": (b"", 0),
    "another text": (b"hello\n", 0),
    "a word that is no root": (HEAD + b"toor " + NAME + b"\n" + BLOCK, len(HEAD)),
    "a root that is no CID": (HEAD + b"root x\n" + BLOCK, len(HEAD)),
    "no root": (HEAD + b"root \n", len(HEAD)),
    "a block that is no CID": (HEAD + BLOCK.replace(NAME, b"x"), len(HEAD)),
    "two CIDs": (HEAD + BLOCK.replace(NAME, str(CID(TOP[0])).encode(), 1), len(HEAD)),
    "no +++": (HEAD + BLOCK.replace(b"+++", b"++"), len(HEAD)),
    "no @@": (HEAD + BLOCK.replace(b"@@", b"##"), len(HEAD)),
    "an unknown form": (HEAD + BLOCK.replace(b"+++ raw", b"+++ yaml"), len(HEAD)),
    "no JSON": (HEAD + BLOCK.replace(b"+++ raw", b"+++ dag-json"), len(HEAD) + len(BLOCK) + 5 - len(b"leaf\n\n")),
    "a line cut off": (HEAD + b"--- " + NAME, len(HEAD)),
    "what its codec has not": (
        HEAD + BLOCK.replace(b"+++ raw", b"+++ dag-json").replace(b"leaf", b"5"),
        len(HEAD),
    ),
    "bytes that are no UTF-8 in a head": (HEAD + b"\xff\n", len(HEAD)),
}


@pytest.mark.parametrize(("text", "position"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_in_a_text_is_shown_where_it_is(text: bytes, position: int) -> None:
    with pytest.raises(FormatError) as caught:
        made_of(text)
    assert caught.value.position == position


@pytest.mark.parametrize("depth", [129, 130, 131])
def test_a_value_that_is_too_deep_is_shown_where_it_is(depth: int) -> None:
    value = b"[" * depth + b"]" * depth
    head = HEAD + BLOCK.replace(b"+++ raw", b"+++ dag-json").removesuffix(b"leaf\n\n")
    with pytest.raises(FormatError, match="deeper than 128") as caught:
        made_of(head + value + b"\n")
    assert caught.value.position == len(head) + (130 if depth > 130 else 128)


def test_blocks_that_link_in_a_circle_are_refused() -> None:
    text = text_of(archives.v1([], [TOP, MIDDLE, LEAF]))
    text = text.replace(f'"/": "{CID(LEAF[0])}"'.encode(), f'"/": "{CID(TOP[0])}"'.encode())
    with pytest.raises(FormatError, match="circle"):
        made_of(text)


def test_a_hash_function_that_is_not_here_is_named() -> None:
    cid = cid_v1(b"x", code=0x300001, digest=b"1234")
    text = HEAD + BLOCK.replace(NAME, str(CID(cid)).encode())
    with pytest.raises(FormatError, match="hash function"):
        made_of(text)


def test_a_bad_archive_gives_its_own_errors() -> None:
    bad = cid_v1(b"\x82", codec=0x71)
    with pytest.raises(CodecError) as caught:
        text_of(archives.v1([], [(bad, b"\x82")]))
    assert caught.value.cid == CID(bad)
    with pytest.raises(IntegrityError):
        text_of(archives.v1([], [(LEAF[0], b"other")]))
    with pytest.raises(CarError):
        text_of(DAG[:-1])
    with pytest.raises(LimitError):
        text_of(DAG, limits=carv2.Limits(section=20))


def test_the_destination_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    for version in (1, 2):
        path = tmp_path / f"{version}.car"
        path.write_bytes(b"old")
        with pytest.raises(LimitError):
            from_patch(text_of(DAG), path, version=version, limits=carv2.Limits(section=50))
        assert path.read_bytes() == b"old"
        from_patch(text_of(DAG), path, version=version)
        carv2.verify(path)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["1.car", "2.car"]


def test_names_with_line_breaks_stay_on_their_line() -> None:
    assert text_of(DAG, name="a\nroot b\x1b").startswith(b"car compile a?root b?\nroot ")


def test_an_unknown_codec_is_carried_as_bytes_but_not_as_a_value() -> None:
    cid = cid_v1(b"tree\x00", codec=0x78)
    archive = archives.v1([], [(cid, b"tree\x00")])
    text = text_of(archive)
    assert made_of(text)[1] == archive
    with pytest.raises(FormatError, match="cannot be made"):
        made_of(text.replace(b'"bytes"', b'"byte"'))
    with pytest.raises(UnknownCodecError):
        carv2.Block(cid, b"tree\x00").decode()


@given(st.data())
def test_a_changed_text_raises_format_errors_only(data: st.DataObject) -> None:
    text = bytearray(text_of(DAG))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        _, made = made_of(bytes(text))
    except FormatError:
        return
    with carv2.open(made) as car:
        assert len(list(car)) <= 3  # each is what its CID says
