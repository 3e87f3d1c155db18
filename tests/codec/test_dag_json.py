"""dag-json and json: what is read, what is refused, what is written."""

from __future__ import annotations

import json as standard
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from carv2 import CID
from carv2.codec import dag_json, json
from carv2.codec._json import dumps, tokens
from carv2.errors import CodecError
from codec.values import TEXTS, V0_CID, VALUES

LEAF = "bafkqaalb"
CIDV0 = str(CID(V0_CID))
LINK = f'{{"/":"{LEAF}"}}'

READ = {  # text, value, links
    "a link": (LINK, CID.of(LEAF), [LEAF]),
    "a link of version 0": (f'{{"/":"{CIDV0}"}}', CID(V0_CID), [CIDV0]),
    "a link with spaces": (f' {{ "/" :\n"{LEAF}"\t}}\r\n', CID.of(LEAF), [LEAF]),
    "a link in another base": ('{"/":"z9iYnCg"}', CID.of("z9iYnCg"), [LEAF]),
    "an escaped link": (f'{{"\\/":"\\u0062{LEAF[1:]}"}}', CID.of(LEAF), [LEAF]),
    "links in order": (
        f'[{LINK},{{"b":{LINK},"a":1}}]',
        [CID.of(LEAF), {"b": CID.of(LEAF), "a": 1}],
        [LEAF, LEAF],
    ),
    "bytes": ('{"/":{"bytes":"AQI"}}', b"\x01\x02", []),
    "no bytes": ('{"/":{"bytes":""}}', b"", []),
    "padded bytes": ('{"/":{"bytes":"AQ=="}}', b"\x01", []),
    "a map that only begins so": ('{"/":{"byte":"AQ"}}', {"/": {"byte": "AQ"}}, []),
    "a map with a slash and a number": ('{"/":1}', {"/": 1}, []),
    "a map with a slash and a link": (f'{{"/":{LINK}}}', {"/": CID.of(LEAF)}, [LEAF]),
    "a map with a slash and bytes that are a map": ('{"/":{"bytes":{}}}', {"/": {"bytes": {}}}, []),
    "a map with a slash behind": (f'{{"a":1,"/":"{LEAF}"}}', {"a": 1, "/": LEAF}, []),
    "keys in any order": ('{"b":1,"a":2}', {"b": 1, "a": 2}, []),
    "numbers": ("[0,-0,1,-5,18446744073709551615]", [0, 0, 1, -5, (1 << 64) - 1], []),
    "the least number": ("-18446744073709551616", -(1 << 64), []),
    "floats": ("[1.0,-0.5,1e3,2E-7]", [1.0, -0.5, 1000.0, 2e-7], []),
    "words": ("[null,true,false]", [None, True, False], []),
    "escapes": ('"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00é"', '"\\/\b\f\n\r\té😀é', []),
    "nothing in it": ("[[],{}]", [[], {}], []),
    "a list with a slash": ('["/"]', ["/"], []),
}

REFUSED = {
    "nothing": "",
    "spaces": " ",
    "something behind": "1 2",
    "a comma behind": "[1,]",
    "a comma behind an entry": '{"a":1,}',
    "a comma before": "[,1]",
    "no comma": "[1 2]",
    "no colon": '{"a" 1}',
    "no value": '{"a":}',
    "a key without quotes": "{a:1}",
    "a key that is a number": "{1:1}",
    "the wrong bracket": "[1}",
    "a bracket too many": "[]]",
    "a list without its end": "[1",
    "a map without its end": '{"a":1',
    "a map without its first key": "{",
    "a string without its end": '"abc',
    "a line break in a string": '"a\nb"',
    "an unknown escape": '"\\x"',
    "half of a surrogate pair": '"\\ud800"',
    "half of one in a key": '{"\\ud800":1}',
    "a word with a mistake": "nul",
    "no number": "NaN",
    "infinity": "Infinity",
    "a number too large": "1e999",
    "a number of 1,000,000 digits": "1" * 1_000_000,
    "a zero in front": "01",
    "a plus": "+1",
    "a point alone": "1.",
    "an exponent alone": "1e",
    "a comment": "/**/1",
    "single quotes": "'a'",
    "a link that is no CID": '{"/":"nonsense"}',
    "a link that is a path": f'{{"/":"/ipfs/{LEAF}"}}',
    "a link that is empty": '{"/":""}',
    "a link that is too long": f'{{"/":"z{"2" * 100_000}"}}',
    "100,000 lists in each other": "[" * 100_000,
    "100,000 maps in each other": '{"a":' * 100_000,
    "131 lists in each other": "[" * 131 + "]" * 131,
}

STRICTER = {  # refused as values, while links are found in them
    "a link with another key": f'{{"/":"{LEAF}","a":1}}',
    "bytes with another key": '{"/":{"bytes":"AQ"},"a":1}',
    "bytes with another key inside": '{"/":{"bytes":"AQ","a":1}}',
    "bytes that are no base64": '{"/":{"bytes":"!"}}',
    "bytes in base64url": '{"/":{"bytes":"_w"}}',
    "bytes of five digits": '{"/":{"bytes":"AQIDB"}}',
    "a key that comes twice": '{"a":1,"a":2}',
}


@pytest.mark.parametrize(("text", "value", "found"), READ.values(), ids=READ.keys())
def test_texts_have_their_values_and_links(text: str, value: object, found: list[str]) -> None:
    raw = text.encode()
    decoded = dag_json.decode(raw)
    assert decoded == value
    assert repr(decoded) == repr(value)  # a 1 is no 1.0
    assert dag_json.links(raw) == [CID.of(cid).raw for cid in found]


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_dag_json_is_refused(text: str) -> None:
    raw = text.encode()
    for read in (dag_json.decode, dag_json.links):
        with pytest.raises(CodecError) as caught:
            read(raw)
        assert 0 <= caught.value.position <= len(raw)


@pytest.mark.parametrize("text", STRICTER.values(), ids=STRICTER.keys())
def test_what_only_looks_like_a_link_or_bytes_is_no_value(text: str) -> None:
    with pytest.raises(CodecError):
        dag_json.decode(text.encode())
    assert dag_json.links(text.encode()) == []


@pytest.mark.parametrize("raw", [b'"\xff"', b"\xef\xbb\xbf1", b"\xff\xfe1\x00", b'"\xed\xa0\x80"'])
def test_text_that_is_not_utf_8_or_has_a_mark_is_refused(raw: bytes) -> None:
    for read in (dag_json.decode, dag_json.links, json.decode):
        with pytest.raises(CodecError):
            read(raw)


def test_128_levels_are_read_with_bytes_in_the_innermost() -> None:
    raw = b"[" * 128 + b'{"/":{"bytes":""}}' + b"]" * 128
    assert dag_json.encode(dag_json.decode(raw)) == raw


def test_128_levels_are_read_with_a_link_in_the_innermost() -> None:
    raw = b'{"k":' * 128 + LINK.encode() + b"}" * 128
    assert dag_json.encode(dag_json.decode(raw)) == raw
    assert dag_json.links(raw) == [CID.of(LEAF).raw]


@pytest.mark.parametrize("depth", [129, 130, 131, 10_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"/":', b"}"), (b'{"k":', b"}")])
@pytest.mark.parametrize("inside", [b"1", b'{"/":{"bytes":""}}', b'{"/":{"bytes":"","x":1}}'])
def test_no_value_is_deeper_than_128(depth: int, opening: bytes, closing: bytes, inside: bytes) -> None:
    for read in (dag_json.decode, json.decode):
        with pytest.raises(CodecError, match="deeper than 128") as caught:
            read(opening * depth + inside + closing * depth)
        assert len(opening) * 128 <= caught.value.position <= len(opening) * 130 + 5


@pytest.mark.parametrize("inside", [b"{}", b"[]", b'{"/":1}', b'{"/":{"bytes":1}}', b'{"/":{"byte":""}}'])
def test_what_is_no_leaf_counts_as_a_level(inside: bytes) -> None:
    dag_json.decode(b"[" * 126 + inside + b"]" * 126)
    with pytest.raises(CodecError, match="deeper than 128") as caught:
        dag_json.decode(b"[" * 128 + inside + b"]" * 128)
    assert caught.value.position == 128
    with pytest.raises(CodecError, match="deeper than 128"):
        json.decode(b"[" * 128 + inside + b"]" * 128)


def test_errors_name_the_byte_and_not_the_character() -> None:
    with pytest.raises(CodecError) as caught:
        dag_json.decode('["é", nothing]'.encode())
    assert caught.value.position == len('["é", '.encode())


WRITTEN = [
    ({"b": 1, "a": [True, None]}, '{"a":[true,null],"b":1}'),
    ({"é": 1, "z": 2, "aa": 3, "": 4}, '{"":4,"aa":3,"z":2,"é":1}'),
    (b"\xfb\xff", '{"/":{"bytes":"+/8"}}'),
    ('\b\x1f\x7f\u2028\u2029 é"\\/\n\r\t', '"\\u0008\\u001f\x7f\\u2028\\u2029 é\\"\\\\/\\n\\r\\t"'),
    (
        [1.0, -0.0, 0.1, 1e20, 1e21, 1e-6, 1e-7, 1.5e300],
        "[1.0,-0.0,0.1,100000000000000000000.0,1e+21,0.000001,1e-7,1.5e+300]",
    ),
    ((1, (2,)), "[1,[2]]"),
    ([], "[]"),
    ({}, "{}"),
]


@pytest.mark.parametrize(("value", "text"), WRITTEN)
def test_what_is_written_is_known(value: object, text: str) -> None:
    assert dag_json.encode(value).decode() == text


@pytest.mark.parametrize(
    "value",
    [
        {"/": 1},
        {"/": {}},
        {"/": {"byte": "AQ"}},
        {"/": {"a": 1, "bytes": "AQ"}},
        {"/": {"bytes": 1}},
        {"": "x", "/": "x"},
    ],
)
def test_maps_that_are_not_reserved_are_written_and_come_back(value: object) -> None:
    raw = dag_json.encode(value)
    assert dag_json.decode(raw) == value
    assert dag_json.links(raw) == []


@given(VALUES)
@example([b"", CID(V0_CID), "\u2028\x00", 1e-7, -(1 << 64)])
def test_values_come_back_and_have_one_form(value: Any) -> None:
    raw = dag_json.encode(value)
    decoded = dag_json.decode(raw)
    assert repr(decoded) == repr(_ordered(value))
    assert dag_json.encode(decoded) == raw
    assert dag_json.decode(dag_json.text_of(value, indent="\t").encode()) == decoded
    standard.loads(raw)  # it is JSON to others too
    assert dag_json.links(raw) == _links_in(decoded)


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value, key=lambda key: key.encode())}
    return [_ordered(item) for item in value] if isinstance(value, list) else value


def _links_in(value: Any) -> list[bytes]:
    if isinstance(value, CID):
        return [value.raw]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for item in items for found in _links_in(item)]


@pytest.mark.parametrize(
    "value",
    [
        {"/": "text"},
        {"/": {"bytes": "AQ"}},
        {"/": "text", "a": 1},
        {"/": {"bytes": "AQ", "c": 1}, "b": 2},
        float("nan"),
        float("inf"),
        "\udc00",
        {"\udc00": 1},
        [[object()]],
        {1: 2},
        {"a": {"/": "text"}},
    ],
)
def test_what_cannot_be_written_is_a_type_or_value_error(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        dag_json.encode(value)


@given(st.binary(max_size=60) | TEXTS.map(str.encode) | st.text('[]{}":,/0.e-ntf ', max_size=30).map(str.encode))
def test_any_bytes_raise_codec_errors_only(raw: bytes) -> None:
    for read in (dag_json.decode, dag_json.links, json.decode):
        try:
            read(raw)
        except CodecError:
            continue


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(1 << 63), 1 << 63) | TEXTS | st.floats(-1e9, 1e9),
        lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
        max_leaves=20,
    )
)
def test_the_standard_library_reads_and_writes_the_same_json(value: Any) -> None:
    assert json.decode(standard.dumps(value).encode()) == value
    assert standard.loads(json.encode(value)) == value
    assert list(_keys(json.decode(json.encode(value)))) == list(_keys(value))  # nothing is sorted


def _keys(value: Any) -> Any:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item)


def test_plain_json_has_neither_links_nor_bytes() -> None:
    assert json.decode(LINK.encode()) == {"/": LEAF}
    assert json.encode({"/": LEAF}) == f'{{\n\t"/": "{LEAF}"\n}}\n'.encode()
    assert json.encode("x") == b'"x"'
    for value in (b"x", CID.of(LEAF)):
        with pytest.raises(TypeError):
            json.encode([value])


NO_LINK = {  # and where its map ends
    "a text": ('["é",{"/":"bad"}]', "'d' at index 2 has bits behind the last byte of base32", 16),
    "a path": (f'{{"/":"/ipfs/{LEAF}"}}', "no CID", 22),
    "a URL": (f'{{"/":"ipfs://{LEAF}"}}', "no CID", 23),
    "an address": (f'{{"/":"ipfs:{LEAF}"}}', "no CID", 21),
    "a long text of a slow base": (f'{{"/":"z{"2" * 1024}"}}', "1025 characters, limit 1024", 1032),
    "a long text of no base": (f'{{"/":"{"X" * 1025}"}}', "1025 characters, limit 1024", 1032),
}


@pytest.mark.parametrize("name", NO_LINK)
def test_a_link_that_is_no_cid_is_told_with_its_place(name: str) -> None:
    text, why, position = NO_LINK[name]
    for read in (dag_json.links, dag_json.decode):
        with pytest.raises(CodecError) as caught:
            read(text.encode())
        assert str(caught.value) == f"JSON: a link that is no CID: {why} (at byte {position} of the block)"


@pytest.mark.parametrize(
    ("size", "base", "length"), [(744, "base58btc", 1023), (745, "base58btc", 1024), (5000, "base32", 8009)]
)
def test_long_links_are_read_in_bases_that_are_quick_and_up_to_1024_characters(
    size: int, base: str, length: int
) -> None:
    cid = CID.of_data(bytes([7]) * size, hash="identity")
    text = cid.encode(base)
    assert len(text) == length
    assert dag_json.decode(f'{{"/":"{text}"}}'.encode()) == cid


@pytest.mark.parametrize("text", ["A", "AQIDB", "A-B_", "A.==", "=", "AQ==="])
def test_what_is_no_base64_is_told(text: str) -> None:
    with pytest.raises(CodecError, match="JSON: bytes that are no base64 "):
        dag_json.decode(f'{{"/":{{"bytes":"{text}"}}}}'.encode())


def test_text_is_written_with_an_entry_a_line_and_for_surrogates_if_that_is_asked_for() -> None:
    assert dag_json.text_of({"a": [1]}) == '{"a":[1]}'
    assert dag_json.text_of({"a": [1]}, indent="  ") == '{\n  "a": [\n    1\n  ]\n}'
    assert dag_json.text_of("a\udc80", lossy=True) == r'"a\ufffd"'
    with pytest.raises(ValueError, match="surrogate"):
        dag_json.text_of("a\udc80")


TOLD = {  # what stands behind a list's "é", and the character that is wrong in it
    "something behind": ("1] 2", "something behind the value", 3),
    "a comma behind": ("1,]", "no value", 2),
    "no comma": ("1 2]", "no comma", 2),
    "no colon": ('{"a" 1}]', "no colon behind a key", 5),
    "no key": ("{a:1}]", "no key", 1),
    "a number too large": ("1e999]", "a number out of range", 0),
    "a number of 22 digits": (" " + "1" * 22 + "]", "a number out of range", 1),
    "half of a surrogate pair": ('"\\ud800"]', "half of a surrogate pair", 0),
    "an unknown escape": ('"ab\\x"]', "Invalid \\escape", 3),
    "a string without its end": ('"ab', "Unterminated string starting at", 0),
    "no value": ("nul]", "no value", 0),
    "the 131st level": ("[" * 130, "nested deeper than 128", 129),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_is_wrong_is_told_with_its_place(name: str) -> None:
    text, why, at = TOLD[name]
    before = '["é",'
    for read in (dag_json.links, dag_json.decode):
        with pytest.raises(CodecError) as caught:
            read((before + text).encode())
        place = len(before.encode()) + at
        assert str(caught.value).startswith(f"JSON: {why}")
        assert caught.value.position == place


FOUND_LATER = {  # by whoever makes values: what stands behind a list's "é", what is wrong, and where
    "a key twice": ('{"b":1,"b":2}]', "the key 'b' comes twice", 7),
    "a link that goes on": (f'{{"/":"{LEAF}","b":1}}]', "a map that begins like a link and goes on", 22),
    "the 129th level": ("[" * 128 + "]" * 129, "nested deeper than 128", 127),
}


@pytest.mark.parametrize("name", FOUND_LATER)
def test_what_is_wrong_with_a_value_is_told_with_its_place(name: str) -> None:
    text, why, at = FOUND_LATER[name]
    before = '["é",'
    with pytest.raises(CodecError) as caught:
        dag_json.decode((before + text).encode())
    assert str(caught.value) == f"JSON: {why} (at byte {len(before.encode()) + at} of the block)"


def test_text_that_is_not_utf_8_is_told_with_its_place() -> None:
    with pytest.raises(CodecError) as caught:
        dag_json.decode(b'"fish\xff"')
    assert str(caught.value) == "JSON: not UTF-8 (at byte 5 of the block)"


def test_tokens_know_where_they_stand() -> None:
    text = ' { "a" : [ 1 , true ,"b",{ } ] } '
    assert [tuple(token) for token in tokens(text.encode())] == [
        ("{", None, 1),
        ("key", "a", 3),
        ("[", None, 9),
        ("value", 1, 11),
        ("value", True, 15),
        ("value", "b", 21),
        ("{", None, 25),
        ("}", None, 27),
        ("]", None, 29),
        ("}", None, 31),
    ]


def test_text_is_short_and_exact_unless_told_otherwise() -> None:
    assert dumps({"b": [1], "a": {}}) == '{"a":{},"b":[1]}'
    with pytest.raises(ValueError, match="a text with a lone surrogate"):
        dumps(["\udc80"])


def test_lists_in_lists_are_indented_by_their_depth() -> None:
    assert dag_json.text_of([[1, [2]], []], indent=" ") == "[\n [\n  1,\n  [\n   2\n  ]\n ],\n []\n]"


@pytest.mark.parametrize("code", [0xD800, 0xDBFF, 0xDC00, 0xDFFF])
def test_each_lone_surrogate_becomes_a_replacement_character(code: int) -> None:
    char = chr(code)
    assert dag_json.text_of({char: [char + char]}, lossy=True) == r'{"\ufffd":["\ufffd\ufffd"]}'
    with pytest.raises(ValueError, match="a text with a lone surrogate"):
        dag_json.text_of(char)


@pytest.mark.parametrize(("value", "text"), [(0.0, "0.0"), (-0.0, "-0.0"), (1e-6, "0.000001"), (1.0, "1.0")])
def test_floats_have_a_point(value: float, text: str) -> None:
    assert dag_json.text_of(value) == text
