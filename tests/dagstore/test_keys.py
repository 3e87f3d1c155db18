"""Shard keys as file names: safe, distinct, and read back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2.dagstore.keys import MAX_KEY_SIZE, check_key, file_name, key_of

if TYPE_CHECKING:
    from pathlib import Path

PIECE = "baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq"


def is_key(text: str) -> bool:
    try:
        check_key(text)
    except ValueError:
        return False
    return True


KEYS = st.one_of(
    st.text(min_size=1),
    st.text(alphabet="aA%./\\~_-2EéÉ", min_size=1, max_size=300),
    st.text(alphabet="a/", min_size=180, max_size=220),
).filter(is_key)


@pytest.mark.parametrize("key", [PIECE, "foo", "a.b-c_d", "0"])
def test_plain_keys_keep_the_names_that_the_go_dagstore_gives_them(key: str) -> None:
    assert file_name(key) == key


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("..", "%2E."),
        (".version", "%2Eversion"),
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
        ("a/b", "a%2Fb"),
        ("%2F", "%252%46"),
        ("Qm", "%51m"),
        ("é", "%C3%A9"),
        ("a b", "a%20b"),
    ],
)
def test_what_a_file_name_must_not_have_is_escaped(key: str, name: str) -> None:
    assert file_name(key) == name
    assert key_of(name) == key


@given(KEYS)
def test_a_name_is_one_component_of_at_most_200_bytes_that_hides_nothing(key: str) -> None:
    name = file_name(key)
    assert name.isascii()
    assert 0 < len(name) <= 200
    assert not set(name) & set("/\\\0 ")
    assert not name.startswith(".")
    assert name not in {"", ".", ".."}


@given(KEYS, KEYS)
def test_distinct_keys_have_distinct_names_whatever_a_file_system_makes_of_case(one: str, other: str) -> None:
    assert (file_name(one).casefold() == file_name(other).casefold()) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"), [("Foo", "foo"), ("FOO", "foo"), ("a/b", "a%2fb"), ("x" * 201, "x" * 202)]
)
def test_keys_that_file_systems_might_confuse_are_kept_apart(one: str, other: str) -> None:
    assert file_name(one).casefold() != file_name(other).casefold()


@given(KEYS)
def test_a_name_that_is_not_cut_short_leads_back_to_its_key(key: str) -> None:
    found = key_of(file_name(key))
    assert found == key or (found is None and "%~" in file_name(key))


@given(st.text(max_size=20))
def test_a_name_that_no_key_has_leads_nowhere(name: str) -> None:
    key = key_of(name)
    assert key is None or file_name(key) == name


def test_the_longest_names_are_those_of_200_bytes() -> None:
    assert file_name("x" * 200) == "x" * 200
    long = file_name("x" * 150 + "/" * 30)
    assert len(long) <= 200
    assert key_of(long) is None
    assert len(file_name("/" * MAX_KEY_SIZE)) <= 200


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", "empty"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\x7f", "control"),
        ("a\x85", "control"),
        ("x" * 1025, "1025 bytes"),
        ("é" * 513, "1026 bytes"),
        ("\udc80", "no Unicode"),
    ],
)
def test_what_cannot_be_a_key_is_a_value_error(key: str, why: str) -> None:
    for call in (check_key, file_name):
        with pytest.raises(ValueError, match=why):
            call(key)


def test_names_can_be_files(tmp_path: Path) -> None:
    keys = ["..", "a/b", "Foo", "foo", "x" * 1024, "ﬀ", "é"]
    for key in keys:
        (tmp_path / f"{file_name(key)}.full.idx").write_text(key)
    assert len(os.listdir(tmp_path)) == len(keys)
