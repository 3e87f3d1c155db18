"""Names that may be those of files, and symlinks that may be made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2 import CID
from carv2.errors import UnsafePathError
from carv2.unixfs.names import check_name, check_target, folded

NOWHERE = ["", ".", "..", "/", "a/b", "/etc/passwd", "../a", "a/", "a\\b", "..\\a", "\\", "a\0", "\0", "n" * 256]
NOWHERE += ["é" * 128, "\ud800"]
NOT_ON_WINDOWS = ["C:", "c:x", "a:b", "con", "CON", "Con.txt", "nul.tar.gz", "aux ", "com1", "LPT9.x", "lpt\u00b2"]
NOT_ON_WINDOWS += ["conin$", "a.", "a ", "a<b", "a>", 'a"', "a|b", "a?", "a*", "a\n", "\x1b[2J", "a\x7f", "a\x9b"]
FINE = [
    "a",
    ".a",
    "...",
    "..a",
    "a..",
    "-",
    "-rf",
    "~",
    "a b",
    "console",
    "com10",
    "nulls",
    "co\u0301n",
    "日本",
    "$HOME",
]
FINE += ["n" * 255, ".carv2", "\udcff", "a%2f..", "\u2215", "\uff0f", "\u2024\u2024"]


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("name", NOWHERE)
def test_what_is_no_name_of_a_file_anywhere_is_refused(name: str, portable: bool) -> None:
    cid = CID.of_data(b"x")
    with pytest.raises(UnsafePathError) as caught:
        check_name(name, portable=portable, cid=cid)
    assert caught.value.name == name
    assert caught.value.cid == cid
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", NOT_ON_WINDOWS)
def test_what_windows_cannot_have_is_refused_on_request(name: str) -> None:
    assert check_name(name) == name.encode()
    with pytest.raises(UnsafePathError, match="on Windows"):
        check_name(name, portable=True)


@pytest.mark.parametrize("name", FINE)
def test_everything_else_is_a_name(name: str) -> None:
    assert check_name(name) == name.encode("utf-8", "surrogateescape")
    if not name.endswith("."):
        assert check_name(name, portable=True) == check_name(name)


@given(st.text())
def test_a_name_that_passes_stays_where_it_is_put(name: str) -> None:
    try:
        found = check_name(name)
    except UnsafePathError:
        return
    assert os.path.normpath(b"/folder/" + found) == b"/folder/" + found
    assert os.path.dirname(os.path.normpath(b"/folder/" + found)) == b"/folder"
    assert found.decode() == name


@pytest.mark.parametrize(
    ("a", "b"),
    [("README", "readme"), ("straße", "STRASSE"), ("\u00e9", "e\u0301"), ("\u212a", "k"), ("ΣΑΣ", "σας")],
)
def test_names_that_some_file_systems_take_for_one(a: str, b: str) -> None:
    assert folded(a) == folded(b)


INSIDE = [
    ("a", 0),
    ("a/b", 0),
    ("./a", 0),
    ("../a", 1),
    (".././../a", 2),
    ("..", 1),
    (".", 0),
    ("../..", 2),
    ("...", 0),
]
OUTSIDE = [("/", 5), ("/etc", 5), ("..", 0), ("../a", 0), ("../../a", 1), ("./..", 0), ("a/..", 0), ("a/../b", 3)]
OUTSIDE += [("../a/../../b", 3), ("", 0), ("a\0b", 0), ("n" * 4096, 0), ("//x", 0), (".//../x", 0)]


@pytest.mark.parametrize(("target", "depth"), INSIDE)
def test_a_symlink_to_the_inside(target: str, depth: int) -> None:
    assert check_target(target, depth, name="link") == target.encode()


@pytest.mark.parametrize(("target", "depth"), OUTSIDE)
def test_a_symlink_that_leads_or_might_lead_outside(target: str, depth: int) -> None:
    with pytest.raises(UnsafePathError, match="link") as caught:
        check_target(target, depth, name="link")
    assert len(str(caught.value)) < 500


SEGMENT = st.sampled_from(["a", "b", "c", "..", "..", "."])  # no "": os.path.realpath is wrong about loops then


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c", "a/b", "a/c", "b/a", "a/b/c"]), st.lists(SEGMENT, max_size=5))
    )
)
def test_no_chain_of_symlinks_that_pass_leads_outside(
    tmp_path_factory: pytest.TempPathFactory, links: list[tuple[str, list[str]]]
) -> None:
    top = tmp_path_factory.mktemp("top") / "x" / "y"
    top.mkdir(parents=True)
    for name, parts in links:
        place, target = top / name, "/".join(parts)
        try:
            check_target(target, name.count("/"), name=name)
            place.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(place) and place.parent.resolve() == place.parent:
                place.symlink_to(target)
        except (UnsafePathError, OSError, RuntimeError):
            continue
    for path in top.rglob("*"):
        for start in (path, path / "a", path / "b" / "c"):
            try:
                found = Path(os.path.realpath(start, strict=False))
            except OSError:
                continue
            assert found == top or top in found.parents, (path, found)
