"""The benchmarks run, all of them, so that they cannot rot. How long they take is nobody's business here."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

import carv2
import carv2.dag

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
    arguments = ["--scale", "20000", "--rounds", "1", "--files", "small,tree", "--data", folder]
    arguments += ["--go", "none", "--js", "none"]
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
    found_by_name = {result["measurements"][0]["op"] for result in ours}
    assert {name for name in found_by_name if ":" not in name} == set(known) - {"get-again"}  # scaling.py's
    assert {name for name in found_by_name if ":" in name} == {
        f"carv2-command:{what}" for what in ("pack", "extract", "version", "inspect", "get")
    }


def test_the_tables_name_the_machine_the_versions_and_what_is_missing(outcome):
    printed, found = outcome
    assert found["machine"]["python"] in printed
    assert "Left out: go-car (not found), @ipld/car (not found), ipfs-car (not found)" in printed
    assert printed.count("| small | carv2 |") >= 12


def test_the_memory_of_an_index_is_measured(outcome):
    _, found = outcome
    assert found["index_memory"]["entries"] == 500
    assert found["index_memory"]["index_bytes"] > 500 * 40


def test_a_tree_and_a_graph_are_made_of_linked_blocks(tmp_path):
    code = "import archives, pathlib, sys; print(*(archives.prepare(n, 1000, pathlib.Path(sys.argv[1])).v2"
    made = run_python("-c", f"{code} for n in archives.DAGS))", tmp_path).split()
    for path in made:
        report, complete = carv2.dag.verify_deep(path)
        assert report.ok
        assert complete is not None
        assert complete.complete
        assert (complete.block_count, complete.unreachable_count) == (report.block_count, 0)
        assert complete.depth > 1
    codecs = [set(carv2.inspect(path).codecs) for path in made]
    assert codecs == [{0x70, 0x55}, {0x71}]


STAND_IN = """#!{python}
import json, sys
if sys.argv[1] == "version":
    print(json.dumps({{"go": "go1", "go-car": "v2"}}))
else:
    size = 1000 if sys.argv[2] == "iterate" else 10
    print(json.dumps({{"seconds": 8.0, "blocks": 0, "bytes": 1, "peak_rss_kib": 3000, "start_rss_kib": size}}))
"""


def test_rows_of_equal_work_are_held_against_go_car_and_tuned_ones_stand_apart(tmp_path):
    peer, docs = tmp_path / "peer", tmp_path / "docs"
    peer.write_text(STAND_IN.format(python=sys.executable))
    peer.chmod(0o755)
    docs.mkdir()
    page = docs / "performance.md"
    page.write_text(
        "before\n<!-- from here: benchmarks/run.py -->\nold\n<!-- to here: benchmarks/run.py -->\nafter\n"
    )
    arguments = ["--scale", "20000", "--rounds", "1", "--files", "small", "--data", tmp_path, "--no-memory"]
    arguments += ["--only", "iterate,index", "--go", peer, "--js", "none", "--docs", docs]
    run_python(BENCHMARKS / "run.py", *arguments)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- from here")
    assert text.endswith("to here: benchmarks/run.py -->\nafter\n")
    assert "old" not in text
    main, _, tuned = text.partition("Tuned by the caller")
    assert "go-car (os.File)" in main
    assert "go-car (bufio)" not in main
    assert "go-car (bufio)" in tuned
    found = json.loads((docs / "performance" / "figures.json").read_text(encoding="utf-8"))
    assert [pair["operation"] for pair in found["beside_go_car"]] == ["iterate", "index"]
    ratios = [pair["ratio"] for pair in found["beside_go_car"]]
    assert f"Geometric mean of 2 rows: **{(ratios[0] * ratios[1]) ** 0.5:.2f}x**" in main
    assert "Memory where an index is involved" in main
    drawn = ET.parse(docs / "performance" / "ratios.svg").getroot()
    assert [one.text for one in drawn.iter() if one.text in {"iterate", "index"}] == ["iterate", "index"]


def test_growth_is_measured_drawn_and_told(tmp_path):
    outs = ["--json", tmp_path / "out.json", "--markdown", tmp_path / "out.md", "--chart", tmp_path / "out.svg"]
    code = "import scaling, sys; scaling.SIZES = (300, 600); scaling.GETS = 50; scaling.main(sys.argv[1:])"
    printed = run_python("-c", code, "--least", "1", "--rounds", "1", "--data", tmp_path, *outs)
    assert (tmp_path / "out.md").read_text(encoding="utf-8").strip() == printed.strip()
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert set(found["points"]) == {"index", "verify", "open", "get", "put", "resume", "pack"}
    assert all(len(line) == 2 for line in found["points"].values())
    names = {one.text for one in ET.parse(tmp_path / "out.svg").getroot().iter()}
    assert set(found["points"]) <= names


def test_what_grows_faster_than_it_may_is_found():
    code = (
        "import scaling as s; p = [s.Point(10**5, 1, 0), s.Point(10**6, 10, 0), s.Point(10**7, 1000, 0)];"
        "print([w for *_, w in s.exponents(s.WORKS['put'], p)], [w for *_, w in s.exponents(s.WORKS['get'], p)],"
        "[w for *_, w in s.exponents(s.WORKS['get'], [s.Point(10**4, 1e-6, 0), s.Point(10**7, 2e-6, 0)])])"
    )
    assert run_python("-c", code).strip() == "[True, False] [False, False] [True]"


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


def test_a_profile_names_the_functions_that_the_time_went_to(tmp_path):
    arguments = ["--scale", "20", "--files", "small", "--only", "iterate-verified,resume", "--data", tmp_path]
    printed = run_python(BENCHMARKS / "profiles.py", *arguments)
    rows = [line for line in printed.splitlines() if "| small |" in line]
    assert [row.split()[1] for row in rows] == ["iterate-verified", "resume"]
    assert "`section." in rows[0]
    assert rows[0].count("%") > 1
