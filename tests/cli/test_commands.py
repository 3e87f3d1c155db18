"""What holds for every command, and what a transcript cannot show: terminals, pipes that stay open, interrupts."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from carv2.cli import color, main, registry, streams
from carv2.cli.parser import parser_for
from carv2.dagstore import BytesMount
from carv2.dagstore.transients import Transients
from cli.files import TWO, lay_out
from cli.running import SOURCE, run, run_line, run_shell, surroundings, told
from helpers import archives

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = list(registry.COMMANDS)
REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"
COMMANDS_FOLDER = SOURCE / "carv2" / "cli" / "commands"


def parse(line: str) -> argparse.Namespace:
    """The arguments of the ``carv2`` in an example, shell operators left aside."""
    words = shlex.split(re.sub(r"[<>]\s*\S+", "", next(part for part in line.split("|") if "carv2" in part)))
    name, rest = main._take_command(words[words.index("carv2") + 1 :])
    return parser_for(name, registry.load(name)).parse_intermixed_args(main._plain_words(rest))


@pytest.mark.parametrize("name", NAMES)
def test_each_command_has_a_line_of_help(name: str) -> None:
    for text in (registry.load(name).HELP, registry.COMMANDS[name]):
        assert text[:1].islower()
        assert "\n" not in text
        assert not text.endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_each_command_has_examples_that_are_right(name: str) -> None:
    examples = registry.load(name).EXAMPLES
    assert examples
    for example in examples:
        assert parse(example) is not None, example
    assert any(f"carv2 {name} " in example for example in examples)


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_what_the_command_is_for_its_flags_and_examples(name: str, tmp_path: Path) -> None:
    command = registry.load(name)
    for flag in ("--help", "-h"):
        ran = run(tmp_path, [*name.split(), flag])
        assert (ran.code, ran.err) == (0, "")
        text = ran.out.decode()
        assert " ".join(text.split()).count(command.HELP[1:]) == 1
        assert all(example in text for example in command.EXAMPLES)
        assert "--json" in text
        assert "--color" in text
        flags = {option for action in parser_for(name, command)._actions for option in action.option_strings}
        assert all(flag in text for flag in flags)


@pytest.mark.parametrize("name", NAMES)
def test_each_argument_and_flag_is_explained(name: str) -> None:
    for action in parser_for(name, registry.load(name))._actions:
        assert action.help, action.dest


def test_the_page_of_all_commands_names_each() -> None:
    page = main._help()
    for name, text in registry.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(text)}$", page, re.MULTILINE), name


def test_each_module_of_commands_is_in_the_registry() -> None:
    modules = {path.stem for path in COMMANDS_FOLDER.glob("*.py")} - {"__init__"}
    assert modules == {name.replace("-", "_").replace(" ", "_") for name in NAMES}
    assert set(registry.ALIASES.values()) <= set(NAMES)


@pytest.mark.skipif(not REFERENCE.exists(), reason="docs/reference/cli.md is not written yet")
@pytest.mark.parametrize("name", NAMES)
def test_each_command_and_flag_is_in_the_reference(name: str) -> None:
    text = REFERENCE.read_text(encoding="utf-8").partition("<!-- from the parsers")[0]  # what is written by hand
    assert re.search(rf"\b{re.escape(name)}\b", text)
    for action in parser_for(name, registry.load(name))._actions:
        for option in action.option_strings:
            if option.startswith("--"):
                assert option in text, option


DAG = "bafyreihsns5cut4qpfzj2v5xjtspvvn2lnbpig5levrpexp33ngocrz4me"
TEXT = "bafkqad3on52cayloebqxey3inf3gkcq"  # of the file `text`

SHARD = {"Key", "State", "Error", "url", "lazy", "references", "block_count", "generation", "last_access"}

# One command line each that prints something with --json, and the keys of what it prints.
JSON = {
    "inspect": ("inspect two.car", {"version", "roots", "block_count", "codecs", "header"}),
    "list": ("list two.car", {"cid", "size"}),
    "ls": ("ls folder.car", {"path", "name", "cid", "kind"}),
    "cat": ("cat folder.car big.bin -o out", {"cid", "size"}),
    "tree": ("tree folder.car", {"path", "cid", "kind", "size", "repeated"}),
    "root": ("root two.car", {"roots"}),
    "verify": ("verify two.car", {"file", "ok", "problems"}),
    "get-block": ("get-block two.car bafkqaatjmq out", {"cid", "size"}),
    "put-block": ("put-block two.car", {"cid", "created", "stored", "version", "roots"}),
    "wrap": ("wrap two.car out", {"data_offset", "data_size", "index_offset", "characteristics"}),
    "unwrap": ("unwrap wrapped.car out", {"size"}),
    "index": ("index two.car out", {"data_offset", "data_size", "index_offset", "characteristics"}),
    "index create": ("index create two.car out", {"records"}),
    "detach-index": ("detach-index wrapped.car out", {"size"}),
    "detach-index list": ("detach-index list wrapped.car", {"hash_code", "digest", "offset"}),
    "attach-index": ("attach-index two.car two.carindex out", {"data_offset", "data_size", "index_offset"}),
    "stat": ("stat two.car", {"inspection", "completeness", "order", "fan_out", "index", "gaps"}),
    "filter": ("filter two.car out --inverse --cid-file nothing", {"roots", "block_count", "missing"}),
    "concat": ("concat two.car fish.car -o out", {"roots", "block_count", "duplicate_count"}),
    "ref status": (
        "ref status --all ref.car --allow . --base .",
        {"cid", "status", "code", "path", "offset", "size", "detail"},
    ),
    "ref verify": (
        "ref verify -v ref.car --allow . --base .",
        {"file", "ok", "counts", "leaf_count", "node_count", "size", "orphan_count", "problems", "damage"},
    ),
    "ref create": (
        "ref create dense.car text out --base .",
        {"roots", "block_count", "reference_count", "size", "kept_count", "archive_size"},
    ),
    "ref densify": (
        "ref densify ref.car out --allow . --base .",
        {"roots", "block_count", "reference_count", "size", "orphan_count"},
    ),
    "ref relocate": (
        "ref relocate ref.car text=other.bin --check none --base . -o out",
        {"reference_count", "moved_count", "paths", "unchecked_count"},
    ),
    "split": ("split two.car part --size 200", {"path", "cid", "size", "roots", "slices"}),
    "diff": ("diff fish.car two.car", {"same", "roots", "only_in_a", "only_in_b", "common"}),
    "create": ("create text -o out", {"root", "file_count", "block_count", "skipped"}),
    "extract": ("extract folder.car -o out", {"files", "directories", "bytes", "skipped"}),
    "guess-profile": (
        "guess-profile text bafkreieqimyhq6lbikh7zm64ov6z6mmxkx5sphnimqj6s7jxvu2wulhyz4",
        {"profile", "wrap", "root", "matches"},
    ),
    "debug": ("debug fish.car -o out", {"inexact"}),
    "compile": ("compile fish.patch -o out", {"roots", "block_count", "changed"}),
    "get-dag": ("get-dag dag.car out", {"root", "block_count", "block_bytes", "missing", "missing_count"}),
    "sort": ("sort dag.car out", {"roots", "block_count", "repeated_count", "missing_count"}),
    "map": ("map dag.car", {"name", "regions", "slices", "codecs", "dag", "problems"}),
    "report": ("report dag.car", {"size", "version", "roots", "sizes", "hashes", "problem_count"}),
    "dot": ("dot dag.car", {"dot"}),
    "salvage": ("salvage damaged.car out", {"block_count", "lost", "roots", "missing_roots"}),
    "recover": ("recover two.car", {"state", "block_count", "cut_bytes", "reason", "applied"}),
    "explain": ("explain two.car", {"position", "raw", "size", "meaning", "value", "error"}),
    "import": ("import --repo repo text", {"id", "root", "filename", "car_path", "car_owner", "report"}),
    "completion": ("completion bash", {"shell", "script"}),
    "imports list": ("imports list --repo repo", {"id", "root", "source", "labels", "error"}),
    "imports info": ("imports info --repo repo 1629158672000000001", {"id", "root", "source", "labels"}),
    "imports remove": ("imports remove --repo repo 1629158672000000001", {"id", "removed"}),
    "imports check": ("imports check --repo repo", {"level", "message"}),
    "imports relocate": (
        f"imports relocate --repo repo --check none {TEXT} text=moved",
        {"id", "root", "filename"},
    ),
    "imports export": (f"imports export --repo repo --car {DAG} out", {"id", "out", "report", "skipped"}),
    "imports dump": ("imports dump --repo repo -o out", {"count"}),
    "imports load": ("imports load --repo repo imports.jsonl", {"added", "present"}),
    "fetch": ("fetch bafkqaatjmq --from http://127.0.0.1:1 -o out", {"root", "block_count", "failures", "out"}),
    "retrieve": (f"retrieve --repo repo {DAG} --from dag.car", {"id", "path", "root", "state", "completeness"}),
    "retrievals list": ("retrievals list --repo repo", {"id", "path", "root", "state", "size", "problem"}),
    "retrievals info": ("retrievals info --repo repo sea", {"retrieval", "completeness"}),
    "retrievals export": ("retrievals export --repo repo --car sea out", {"id", "out", "report", "skipped"}),
    "retrievals remove": ("retrievals remove --repo repo sea", {"id", "removed"}),
    "dagstore list-shards": ("dagstore list-shards --root store", SHARD),
    "dagstore register-shard": ("dagstore register-shard two two.car --root store", SHARD),
    "dagstore initialize-shard": ("dagstore initialize-shard two --root store", SHARD),
    "dagstore recover-shard": ("dagstore recover-shard two --root store", SHARD),
    "dagstore initialize-all": (
        "dagstore initialize-all --root store --concurrency 1",
        {"Key", "Event", "Success", "Error", "Total", "Current"},
    ),
    "dagstore gc": ("dagstore gc --root store", {"Key", "Success", "Error", "freed"}),
    "dagstore lookup-pieces": (
        "dagstore lookup-pieces bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu --root store",
        SHARD,
    ),
    "dagstore destroy-shard": ("dagstore destroy-shard two --root store", {"Key", "destroyed"}),
    "dagstore doctor": (
        "dagstore doctor --root store",
        {"Key", "problem", "detail", "remedy", "mended", "Error"},
    ),
    "dagstore migrate": (
        "dagstore migrate deals.jsonl --root store",
        {"did_work", "deals", "registered", "known", "not_ready", "invalid", "invalid_count"},
    ),
    "dagstore stat": (
        "dagstore stat --root store",
        {"shards", "shards_new", "multihashes", "blocks", "index_bytes", "local_copies", "local_copy_bytes"},
    ),
    "dagstore report": (
        "dagstore report --root store",
        {"name", "shard_count", "by_state", "mounts", "errors", "sizes", "failed", "largest", "index_bytes"},
    ),
    "dagstore serve": (
        "dagstore serve --root store --listen 127.0.0.1:0",
        {"url", "api", "gateway", "pid"},
    ),
    "dagstore token": ("dagstore token --root store --allow read", {"token", "allow", "expires"}),
    "dagstore config": ("dagstore config --root store", {"root_dir", "max_concurrent_index", "gc_interval"}),
    "dagstore export-go": ("dagstore export-go go --root store", {"shard_count", "index_count"}),
    "dagstore import-go": (
        "dagstore import-go go --root copy",
        {"shard_count", "index_count", "known", "refused", "refused_count"},
    ),
}

REGISTER = "carv2 dagstore register-shard --root store"

# What has to be done before.
BEFORE = {
    **dict.fromkeys(
        ("imports list", "imports info", "imports remove", "imports check", "imports dump"),
        "carv2 imports load --repo repo imports.jsonl",
    ),
    "imports relocate": "carv2 import --repo repo text",
    "dagstore token": f"{REGISTER} two two.car",
    "ref create": "carv2 create --no-wrap -o dense.car text",
    "imports export": "carv2 import --repo repo --car dag.car",
    **dict.fromkeys(
        ("retrievals list", "retrievals info", "retrievals export", "retrievals remove"),
        f"carv2 retrieve --repo repo --id sea {DAG} --from dag.car",
    ),
    **dict.fromkeys(
        (
            "dagstore list-shards",
            "dagstore lookup-pieces",
            "dagstore destroy-shard",
            "dagstore gc",
            "dagstore stat",
            "dagstore report",
            "dagstore export-go",
        ),
        f"{REGISTER} two two.car",
    ),
    **dict.fromkeys(("dagstore initialize-shard", "dagstore initialize-all"), f"{REGISTER} --lazy two two.car"),
    "dagstore recover-shard": f"{REGISTER} two new.car 2>log; cp two.car new.car",
    "dagstore doctor": f"{REGISTER} --lazy two gone.car",
    "dagstore migrate": """echo '{"PieceCID": "bafkqaaa", "State": "StorageDealError"}' >deals.jsonl""",
    "dagstore import-go": f"{REGISTER} two two.car; carv2 dagstore export-go --root store go",
}


def lay_out_for(name: str, folder: Path) -> None:
    """The files that a command is tried on."""
    lay_out(folder)
    if name in BEFORE:
        assert run_line(folder, BEFORE[name]).code == 0
    if name == "dagstore gc":
        make_local_copy(folder / "store")


def make_local_copy(store: Path) -> None:
    """A transient of a shard whose mount cannot be read anywhere."""
    with Transients(store / "transients") as transients:
        transients.fetch("two", SequentialMount(TWO))
        transients.unpin("two")


class SequentialMount(BytesMount):
    """Bytes that come front to back only."""

    random_access = False


@contextlib.contextmanager
def stopped_when_it_speaks(name: str, folder: Path) -> Iterator[None]:
    """Have Ctrl-C pressed once a command that serves says where."""
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.02):
            with contextlib.suppress(OSError):
                if (folder / ".stdout").stat().st_size:
                    os.kill(os.getpid(), signal.SIGINT)
                    return

    if name != "dagstore serve":
        yield
        return
    thread, before = threading.Thread(target=watch), _handlers()
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    assert _handlers() == before  # else processes begun later could not be ended


def _handlers() -> list[Any]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_a_thread_that_calls_main_leaves_signals_to_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_begun, may_end, codes, before = threading.Event(), threading.Event(), list[int](), _handlers()

    def command(_: object) -> int:
        has_begun.set()
        may_end.wait(60)
        return 0

    monkeypatch.setattr("carv2.cli.commands.ls.run", command)
    thread = threading.Thread(target=lambda: codes.append(main.main(["ls", "x.car"])))
    thread.start()
    try:
        assert has_begun.wait(60)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        may_end.set()
        thread.join()
        assert (codes, signal.getsignal(signal.SIGTERM)) == ([0], signal.SIG_IGN)
    finally:
        may_end.set()
        thread.join()
        signal.signal(signal.SIGTERM, before[1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("where", ["before", "after"])
def test_json_is_one_object_a_line(name: str, where: str, tmp_path: Path) -> None:
    lay_out_for(name, tmp_path)
    words, rest = name.split(), JSON[name][0].removeprefix(name).split()
    with stopped_when_it_speaks(name, tmp_path):
        ran = run(tmp_path, [*words, "--json", *rest] if where == "before" else [*words, *rest, "--json"])
    objects: list[dict[str, Any]] = [json.loads(line) for line in ran.out.splitlines()]
    assert objects
    assert all(JSON[name][1] <= found.keys() for found in objects)
    assert ran.err == ""
    again = tmp_path / "again"
    again.mkdir()
    lay_out_for(name, again)
    with stopped_when_it_speaks(name, again):
        plain = run(again, [*words, *rest])
    assert plain.code == ran.code
    assert plain.out != ran.out


# -- colour -----------------------------------------------------------------------------------------------------

COLOURED = b"\x1b[32mok\x1b[0m"


def at_terminal(folder: Path, argv: list[str], **environment: str) -> bytes:
    """What ``carv2 ARGV`` prints where standard output is a terminal."""
    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding="utf-8") as terminal:
        run(folder, argv, stdout=terminal, environment=environment)
    found = b""
    try:
        while chunk := os.read(ours, 4096):
            found += chunk
    except OSError:  # Linux: the other side is closed
        pass
    os.close(ours)
    return found


VERIFY = ["verify", "-v", "fish.car"]
CASCADE = [  # the command line, the environment, whether colour is on at a terminal
    (VERIFY, {}, True),
    (VERIFY, {"NO_COLOR": "1"}, False),
    (VERIFY, {"NO_COLOR": ""}, True),
    (VERIFY, {"TERM": "dumb"}, False),
    ([*VERIFY, "--color"], {"NO_COLOR": "1"}, True),
    (["--color", *VERIFY], {"TERM": "dumb"}, True),
    (["--color=false", *VERIFY], {}, False),
    ([*VERIFY, "--color=false"], {}, False),
    (["--color", *VERIFY, "--color=false"], {}, False),
    (["--color=false", *VERIFY, "--color"], {}, True),
    (["--color=false", "verify", "--color=true", "-v", "fish.car"], {"NO_COLOR": "1"}, True),
]


@pytest.mark.parametrize(("argv", "environment", "is_on"), CASCADE)
def test_at_a_terminal_the_most_specific_flag_wins_over_the_surroundings(
    argv: list[str], environment: dict[str, str], is_on: bool, tmp_path: Path
) -> None:
    lay_out(tmp_path)
    found = at_terminal(tmp_path, argv, **environment)
    assert b"ok" in found
    assert (COLOURED in found) is is_on


@pytest.mark.parametrize(("argv", "environment", "is_on"), CASCADE)
def test_in_a_pipe_only_flags_turn_colour_on(
    argv: list[str], environment: dict[str, str], is_on: bool, tmp_path: Path
) -> None:
    lay_out(tmp_path)
    found = run(tmp_path, argv, environment=environment).out
    assert b"ok" in found
    given = [word for word in argv if word.startswith("--color")]
    assert (COLOURED in found) is (is_on and bool(given))


TOLD_BY_WORDS = [  # command lines, and the words or signs that are in colour
    ("verify -v fish.car", {"ok"}),
    ("verify damaged.car", {"carv2: damaged.car: "}),
    ("diff fish.car two.car", {"+ "}),
    ("diff two.car fish.car", {"- "}),
    ("salvage damaged.car saved.car", {"lost: "}),
    ("recover cut.car", {"To cut:"}),
    ("ref status --all ref-stale.car --allow . --base .", {"changed", "no-file"}),
    ("dagstore list-shards --root store", {"Errored", "Available"}),
]


@pytest.mark.parametrize(("line", "signs"), TOLD_BY_WORDS)
def test_what_a_colour_says_a_word_says_too(line: str, signs: set[str], tmp_path: Path) -> None:
    """Who sees no colours, or not all of them, reads the same."""
    lay_out(tmp_path)
    for register in ("two two.car", "gone gone.car"):
        run_line(tmp_path, f"carv2 dagstore register-shard --root store {register}")
    plain = run_line(tmp_path, f"carv2 {line}")
    (tmp_path / "saved.car").unlink(missing_ok=True)
    coloured = run_line(tmp_path, f"carv2 --color {line}")
    shown = coloured.out.decode() + coloured.err
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == plain.out.decode() + plain.err
    painted = re.findall(r"\x1b\[[0-9;]*m(.*?)\x1b\[0m", shown)
    assert {sign for sign in signs if any(text.startswith(sign) for text in painted)} == signs


@pytest.mark.parametrize("first", [None, True, False])
@pytest.mark.parametrize("second", [None, True, False])
@pytest.mark.parametrize("third", [None, True, False])
def test_at_three_levels_the_last_one_given_wins(
    first: bool | None, second: bool | None, third: bool | None, tmp_path: Path
) -> None:
    def words(value: bool | None) -> list[str]:
        return [] if value is None else ["--color"] if value else ["--color=false"]

    argv = [*words(first), "detach-index", *words(second), "list", *words(third), "missing"]
    given = [value for value in (first, second, third) if value is not None]
    found = run(tmp_path, argv).err
    assert ("\x1b[" in found) is (bool(given) and given[-1])
    assert "missing" in found


@pytest.mark.parametrize("text", ["true", "1", "yes", "on", "always", "TRUE", "T", ""])
def test_words_for_colour(text: str) -> None:
    assert color.parse_flag(text) is True


@pytest.mark.parametrize("text", ["false", "0", "no", "off", "never", "False", "F"])
def test_words_for_no_colour(text: str) -> None:
    assert color.parse_flag(text) is False


def test_a_file_called_like_a_flag_of_colour_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "--color").write_bytes(archives.EMPTY_HEADER)
    assert run(tmp_path, ["root", "--json", "--", "--color"]).out == b'{"roots": []}\n'


# -- streams ----------------------------------------------------------------------------------------------------


def start(folder: Path, *argv: str, **options: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.Popen(
        [sys.executable, "-m", "carv2", *argv],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_who_closes_the_pipe_early_gets_no_complaint(tmp_path: Path) -> None:
    (tmp_path / "big.car").write_bytes(archives.v1([], [archives.FISH] * 30_000))
    for argv in (["list", "--no-verify", "big.car"], ["explain", "big.car"], ["list", "--json", "big.car"]):
        process = start(tmp_path, *argv)
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert (process.wait(), process.stderr.read()) == (0, b""), argv
        process.stderr.close()


def test_roots_are_printed_before_the_stream_ends(tmp_path: Path) -> None:
    process = start(tmp_path, "root", "-", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(archives.header([archives.FISH[0]]) + b"\x28")
    process.stdin.flush()  # and it stays open
    assert process.stdout.readline().startswith(b"bafkrei")
    assert process.wait() == 0
    process.communicate()


def _take_interrupts() -> None:
    """Where the tests run in the background they may be set to ignore Ctrl-C, and so would their children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupt_ends_quietly_and_leaves_nothing_behind(tmp_path: Path) -> None:
    process = start(tmp_path, "wrap", "-", "out.car", stdin=subprocess.PIPE, preexec_fn=_take_interrupts)
    assert process.stdin is not None
    process.stdin.write(archives.EMPTY_HEADER + bytes(1 << 20))
    process.stdin.flush()  # more than a pipe holds: it is reading now
    out, err = told(process, signal.SIGINT)
    assert (process.returncode, out, err) == (130, b"", b"")
    assert os.listdir(tmp_path) == []


INTERRUPTED_AT = """
import os, runpy, signal, sys

class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

for name in [{module!r}, "carv2.cli.commands.root"]:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Interrupter())
sys.argv = ["carv2", "root", "two.car"]
{begin}
"""
MODULE = 'runpy.run_module("carv2", run_name="__main__", alter_sys=True)'
SCRIPT = "from carv2.cli.start import entry; entry()"


@pytest.mark.parametrize("begin", [MODULE, SCRIPT])
@pytest.mark.parametrize(
    "module", ["carv2.cli.main", "argparse", "carv2.cli.registry", "carv2.errors", "carv2.cli.commands.root"]
)
def test_an_interrupt_while_python_imports_is_quiet_too(module: str, begin: str, tmp_path: Path) -> None:
    (tmp_path / "two.car").write_bytes(TWO)
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT.format(module=module, begin=begin)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        check=False,
        preexec_fn=_take_interrupts,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_an_interrupt_when_all_is_printed_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "two.car").write_bytes(TWO)
    at_the_end = "import atexit, os, signal, sys; atexit.register(os.kill, os.getpid(), signal.SIGINT)"
    done = subprocess.run(
        [sys.executable, "-c", f"{at_the_end}; sys.argv = ['carv2', 'root', 'two.car']; {SCRIPT}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        check=False,
        preexec_fn=_take_interrupts,
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")  # 130 to a shell
    assert done.stdout.startswith(b"bafkrei")


def _take_terminations() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_sigterm_ends_quietly_too_and_leaves_nothing_behind(tmp_path: Path) -> None:
    process = start(tmp_path, "wrap", "-", "out.car", stdin=subprocess.PIPE, preexec_fn=_take_terminations)
    assert process.stdin is not None
    process.stdin.write(archives.EMPTY_HEADER + bytes(1 << 20))
    process.stdin.flush()
    out, err = told(process, signal.SIGTERM)
    assert (process.returncode, out, err) == (143, b"", b"")
    assert os.listdir(tmp_path) == []


def test_sigterm_in_the_middle_of_an_import_leaves_no_archive(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(20 << 30)
    process = start(tmp_path, "import", "large", "--repo", "repo", preexec_fn=_take_terminations)
    while not (tmp_path / "repo" / "imports").exists() or len(os.listdir(tmp_path / "repo" / "imports")) < 4:
        assert process.poll() is None
        time.sleep(0.01)
    told(process, signal.SIGTERM)
    assert process.returncode == 143
    assert os.listdir(tmp_path / "repo" / "imports") == ["catalogue.sqlite"]
    assert run(tmp_path, ["imports", "list", "--repo", "repo"]).out == b""


def test_too_little_memory_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(_: object) -> int:
        raise MemoryError

    monkeypatch.setattr(registry.load("inspect"), "run", hungry)
    ran = run(tmp_path, ["inspect", "x.car"])
    assert (ran.out, ran.err, ran.code) == (b"", "carv2: there is not enough memory for this\n", 1)


ASCII = "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0"


@pytest.mark.parametrize("ascii_only", ["PYTHONIOENCODING=ascii", ASCII])
def test_names_beyond_the_encoding_of_the_terminal_are_printed_all_the_same(
    tmp_path: Path, ascii_only: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "h\u00e4ring.txt").write_bytes(b"fish" * 100)
    for command in ("create folder -o h\u00e4ring.car", "import folder/h\u00e4ring.txt --repo r\u00e4po"):
        assert run_shell(tmp_path, f"carv2 {command}").code == 0
    for command, exit_code in {
        "ls h\u00e4ring.car": 0,
        "tree h\u00e4ring.car": 0,
        "inspect h\u00e4ring.car": 0,
        "inspect nich\u00e4s.car": 1,
        "imports list --repo r\u00e4po": 0,
        "imports list --json --repo r\u00e4po": 0,
        "imports check --repo r\u00e4po": 0,
        "retrievals list --repo r\u00e4po": 0,
    }.items():
        ran = run_shell(tmp_path, f"{ascii_only} carv2 {command}")
        assert (ran.code, "Traceback" in ran.err) == (exit_code, False), (command, ran)


def test_an_import_is_sound_where_its_path_cannot_be_encoded(tmp_path: Path) -> None:
    (tmp_path / "h\u00e4ring.txt").write_bytes(b"fish" * 100)
    assert run_shell(tmp_path, "carv2 import h\u00e4ring.txt --repo r\u00e4po").code == 0
    ran = run_shell(tmp_path, f"{ASCII} carv2 imports check --originals --repo r\u00e4po")
    assert (ran.code, '"broken": 0' in ran.err) == (0, True), ran


def test_a_pipe_is_spooled_where_positions_are_needed_and_not_where_they_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(tmp_path)
    for command in ("inspect", "verify -v", "detach-index list", "explain", "list", "root"):
        piped = run_shell(tmp_path, f"cat wrapped.car | carv2 {command} -")
        named = run(tmp_path, [*command.split(), "wrapped.car"])
        assert piped.out.replace(b"standard input", b"wrapped.car") == named.out
        assert (piped.err, piped.code) == ("", 0)


def test_a_large_stream_goes_through_a_pipe_whole(tmp_path: Path) -> None:
    data = os.urandom(900_000)
    payload = archives.v1([], [(archives.cid_v1(data), data)] * 3)
    (tmp_path / "large.car").write_bytes(payload)
    ran = run_shell(tmp_path, "cat large.car | carv2 wrap - - | carv2 unwrap - - | cmp - large.car && echo same")
    assert ran.out == b"same\n"


# -- names ------------------------------------------------------------------------------------------------------

HOSTILE = "esc\x1b]0;owned\x07\x9b31m\r\u202ename.car"


def remove(made: Path) -> None:
    shutil.rmtree(made) if made.is_dir() else made.unlink(missing_ok=True)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_terminal_would_obey_is_never_printed(name: str, tmp_path: Path) -> None:
    """Whatever is wrong with a file, whose name is made to take over a terminal."""
    lay_out(tmp_path)
    shown = ""
    for file in ("damaged.car", "gateway.car", "hostile-key.car", "lying.car", "text", None):
        if file is not None:
            (tmp_path / HOSTILE).write_bytes((tmp_path / file).read_bytes())
        rest = JSON[name][0].removeprefix(name).split()
        away = ["-o", "out"] if name == "concat" else []  # else it writes an archive
        for words in ([HOSTILE, *rest[1:]], [*[HOSTILE] * 4, *away], [*rest, f"--{HOSTILE}"]):
            ran = run(tmp_path, [*name.split(), *words])
            shown += ran.err + ran.out.decode("utf-8", "replace")
            remove(tmp_path / "out")
        remove(tmp_path / HOSTILE)
    assert "esc" in shown
    assert not [c for c in shown if not c.isprintable() and c not in "\n\t"]


def test_printable_text_stays_as_it_is() -> None:
    assert color.printable("naïve ✓ 文字") == "naïve ✓ 文字"
    assert color.printable("a\x1b\u202e\x07\n\x9bb") == "a\\x1b\\u202e\\x07\\n\\x9bb"


def test_json_keeps_to_its_own_types(tmp_path: Path) -> None:
    found = streams.plain({"a": (b"\x01\xff", None, 1.5), 3: {"b": [True]}})
    assert json.loads(json.dumps(found)) == {"a": ["01ff", None, 1.5], "3": {"b": [True]}}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file or directory", "sea"), "sea: No such file or directory"),
        (FileNotFoundError(2, "No such file or directory", b"s\xffa"), "s\udcffa: No such file or directory"),
        (OSError(18, "Invalid cross-device link", "a", None, "b"), "a -> b: Invalid cross-device link"),
        (IsADirectoryError(21, "Is a directory", "."), "Is a directory"),  # "." was named
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("timed out"), "timed out"),
        (OSError(9, "Bad file descriptor", 7), "Bad file descriptor"),
    ],
)
def test_errors_of_the_system_are_told_as_shells_tell_them(error: OSError, words: str) -> None:
    assert color.words_of(error, about=".") == words


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), ("512", 512), ("512k", 512_000), ("16MiB", 16 << 20), ("1.5 gb", 1_500_000_000)]
)
def test_bytes_may_have_a_unit(text: str, value: int) -> None:
    assert streams.size(text) == value


@pytest.mark.parametrize("text", ["", "-1", "1.5.2", "many", "1e3", "3 apples"])
def test_what_is_no_number_of_bytes(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no size, such as 1000"):
        streams.size(text)


def test_the_working_directory_and_environment_of_tests_are_restored(tmp_path: Path) -> None:
    before = (Path.cwd(), dict(os.environ))
    with surroundings(tmp_path, {"X": "1"}):
        assert os.environ["X"] == "1"
    assert (Path.cwd(), dict(os.environ)) == before
