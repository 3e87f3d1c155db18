"""The benchmarks run, all of them, so that they cannot rot. How long they take is nobody's business here."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

import carv2

BENCHMARKS = pathlib.Path(__file__).parent.parent / "benchmarks"


def run_python(*arguments: str | os.PathLike[str]) -> str:
    source = pathlib.Path(carv2.__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(source), str(BENCHMARKS)])}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmarks")
    arguments = ["--scale", "20000", "--rounds", "1", "--files", "small", "--data", folder]
    printed = run_python(
        BENCHMARKS / "run.py", *arguments, "--json", folder / "out.json", "--markdown", folder / "out.md"
    )
    assert (folder / "out.md").read_text(encoding="utf-8").strip() == printed.strip()
    return printed, json.loads((folder / "out.json").read_text(encoding="utf-8"))


def test_every_operation_of_ours_is_run_and_takes_all_blocks(outcome):
    _, found = outcome
    ours = [result for result in found["results"] if result["label"].startswith("carv2")]
    assert not [result["error"] for result in ours if result["error"]]
    known = run_python("-c", "import ours; print(*ours.OPERATIONS)").split()
    assert {result["measurements"][0]["op"] for result in ours} == set(known)


def test_the_tables_name_the_machine_the_versions_and_what_is_missing(outcome):
    printed, found = outcome
    assert found["machine"]["python"] in printed
    assert "Left out: go-car (not given), @ipld/car (not given)" in printed
    assert printed.count("| small | carv2 |") >= 12


def test_the_memory_of_an_index_is_measured(outcome):
    _, found = outcome
    assert found["index_memory"]["entries"] == 500
    assert found["index_memory"]["index_bytes"] > 500 * 40


def test_folders_are_packed_and_the_packers_compared(tmp_path):
    printed = run_python(BENCHMARKS / "packing.py", "--quick", "--rounds", "1", "--data", tmp_path)
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| carv2")]
    assert [row[0] for row in rows] == ["| carv2, go-car", "| carv2, unixfs-v1-2025"] * 2
    assert all(row[4].startswith("bafy") for row in rows)


def test_imports_by_reference_are_compared_with_hashing_and_their_reading_with_dense_archives(tmp_path):
    printed = run_python(BENCHMARKS / "references.py", "--quick", "--rounds", "1", "--data", tmp_path)
    rows = [line.strip("| ").split(" | ") for line in printed.splitlines() if line.startswith("| ")]
    names = [row[0] for row in rows if not row[0].startswith("---")]
    assert names == [
        "import of 16 MiB",
        "sha256, one core",
        "blake2b-256, one core",
        "unixfs-v1-2025",
        "unixfs-v1-2025, one worker",
        "lotus",
        "lotus, one worker",
        "reading of 16 MiB",
        "unixfs-v1-2025, dense",
        "unixfs-v1-2025, references",
        "lotus, dense",
        "lotus, references",
    ]
    shares = [float(row[4].strip("%")) for row in rows if len(row) == 5 and row[4].endswith("%")]
    assert len(shares) == 4
    assert max(shares) < 1


def test_the_catalogue_is_filled_and_asked():
    arguments = ["--shards", "2000", "--multihashes", "20000", "--per-shard", "5000"]
    figures = json.loads(run_python(BENCHMARKS / "dagstore_catalogue.py", *arguments).splitlines()[-1])
    assert 42 < figures["a multihash takes [bytes]"] < 70
    assert all(figure >= 0 for figure in figures.values())
    assert len(figures) == 17


def test_many_shards_are_moved_in_acquired_looked_up_in_and_indexed(tmp_path):
    printed = run_python(BENCHMARKS / "dagstore.py", "--quick", "--workers", "2", "--data", tmp_path)
    figures = json.loads(printed.splitlines()[-1])
    assert all(figure >= 0 for figure in figures.values())
    assert len(figures) == 36
    names = {name.split(" [")[0] for name in figures}
    assert {"migrate, all", "open", "list", "acquire, cold, median", "look up a multihash, median"} <= names
    assert list(tmp_path.iterdir()) == []


def test_the_gateway_is_compared_with_reading_the_same_archive(tmp_path):
    printed = run_python(BENCHMARKS / "gateway.py", "--quick", "--data", tmp_path)
    figures = json.loads(printed.splitlines()[-1])
    assert len(figures) == 2 * 4 * 10  # out of an archive, and of a DAG store
    assert all(figure >= 0 for figure in figures.values())
    assert list(tmp_path.iterdir()) == []


def test_a_served_store_is_called(tmp_path):
    printed = run_python(
        BENCHMARKS / "rpc.py", "--requests", "40", "--connections", "4", "--shards", "3", "--data", tmp_path
    )
    figures = json.loads(printed.splitlines()[-1])
    assert all(figure > 0 for each in figures.values() for figure in each.values())
    assert {label.split(",")[0] for label in figures} == {"ListShards", "LookupPieces", "PieceIndexSize", "server"}
    assert list(tmp_path.iterdir()) == []
