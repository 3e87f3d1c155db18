"""The command lines that the page about gateways and ``carv2 fetch --help`` show do what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2.cli.commands import extract, fetch
from carv2.unixfs import pack
from cli.running import run, run_shell
from ipfs.webgateway import WebGateway

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = Path(__file__).resolve().parents[2]
PAGE = TOP / "docs" / "how-to" / "fetch-from-a-gateway.md"
BLOCKS = re.findall(r"^```console\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
FILES = {"docs/readme.md": b"read me", "images/fish": b"fish", "film.mp4": bytes(range(256)) * 9000}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path


@pytest.fixture
def gateway(folder: Path) -> Iterator[tuple[str, str]]:
    """Its address and the root of what it has."""
    archive = folder / "archive.car"
    root = pack(folder / "source", archive, wrap=False).root
    with carv2.open(archive) as car:
        blocks = {bytes(block.cid): block.data for block in car}
    with WebGateway(blocks) as server:
        yield server.url, str(root)


def here(text: str, gateway: tuple[str, str]) -> str:
    """An example with the gateway and the root of this test in the place of those that it shows."""
    url, root = gateway
    text = re.sub(r"https?://[\w.:]+", url, text)
    text = re.sub(r"/dns4/[\w./]+", f"/ip4/127.0.0.1/tcp/{url.rpartition(':')[2]}/http", text)
    return re.sub(r"\b(CID|bafkqaatjmq)\b", root, text)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_page_has_command_lines() -> None:
    assert sum("carv2 extract" in block for block in BLOCKS) > 1


@pytest.mark.parametrize("at", range(len(BLOCKS)))
def test_the_page_is_right(folder: Path, gateway: tuple[str, str], at: int) -> None:
    for line in here(BLOCKS[at], gateway).splitlines():
        ran = run_shell(folder, line.removeprefix("$ "))
        assert ran.code == 0, f"{line}: {ran.err}"
    if "carv2 extract" in BLOCKS[at]:
        assert tree(folder / "folder") == FILES


@pytest.mark.parametrize("example", fetch.EXAMPLES)
def test_the_examples_of_the_help_are_right(folder: Path, gateway: tuple[str, str], example: str) -> None:
    ran = run_shell(folder, here(example, gateway))
    assert ran.code == 0, ran.err
    if "carv2 extract" in example:
        assert tree(folder / "folder") == FILES
    else:
        (out,) = folder.glob("*t.car")
        assert carv2.verify(out).ok


@pytest.mark.parametrize("example", extract.EXAMPLES)
def test_the_examples_of_extract_are_right(folder: Path, example: str) -> None:
    pack(folder / "source", folder / "archive.car", wrap=False)
    (folder / "out").mkdir()
    ran = run_shell(folder / "out", example.replace("archive.car", "../archive.car"))
    assert ran.code == 0, ran.err
    found = tree(folder / "out")
    if example.endswith("extract archive.car"):
        assert {name: found[name] for name in FILES} == FILES
    elif "-o folder" in example:
        assert {f"folder/{name}" for name in FILES if name != "film.mp4"} <= found.keys()
    else:
        assert ran.out.startswith((b"read me", b"docs"))


def test_the_folder_of_extract_stands_behind_o_everywhere() -> None:
    """``carv2 extract FILE FOLDER`` would take a path FOLDER out of the archive."""
    pages = [TOP / "README.md", *(TOP / "docs").rglob("*.md"), *(TOP / "src").rglob("*.py")]
    for page in pages:
        for line in page.read_text().splitlines():
            assert not re.search(r"carv2 extract (?!.*(-o|--output)\b)\S+ (folder|out|DIR)\b", line), (page, line)


@pytest.mark.parametrize("argv", [["--version", "1"], ["--v1"]])
def test_a_version_is_named_as_elsewhere(folder: Path, gateway: tuple[str, str], argv: list[str]) -> None:
    url, root = gateway
    assert run(folder, ["fetch", root, "--from", url, "-o", "one.car", *argv]).code == 0
    with carv2.open(folder / "one.car") as car:
        assert car.version == 1
