"""Archives that `extract` has to be careful with, for the transcripts."""

from __future__ import annotations

from helpers import archives
from helpers.unixfs import Dag


def _files() -> dict[str, bytes]:
    evil, links, cases, bomb, roots = Dag(), Dag(), Dag(), Dag(), Dag()
    outside = evil.directory(
        {"a.txt": evil.raw(b"a\n"), "../../outside\x1b[2J": evil.raw(b"x"), "z.txt": evil.raw(b"z\n")}
    )
    inside = links.directory({"up": links.symlink(b"../a.txt"), "out": links.symlink(b"../../etc")})
    linked = links.directory({"a.txt": links.raw(b"a\n"), "etc": links.symlink(b"/etc"), "inside": inside})
    both = cases.directory(
        {"README": cases.raw(b"1\n"), "nul.txt": cases.raw(b"2\n"), "readme": cases.raw(b"3\n")}
    )
    made = bomb.raw(b"x" * 1000)
    for _ in range(3):
        made = bomb.directory({f"{at:02}": made for at in range(64)})
    many = [
        roots.directory({"a": roots.raw(b"1\n"), "b": roots.raw(b"2\n")}),
        roots.directory({"a": roots.raw(b"3\n")}),
    ]
    values = roots.put(b"\xa0", codec=archives.DAG_CBOR)
    return {
        "hostile.car": evil.archive(outside),
        "linked.car": links.archive(linked),
        "cases.car": cases.archive(both),
        "bomb.car": bomb.archive(made),
        "many-roots.car": roots.archive(*many, roots.raw(b"4\n"), roots.leaf(b"5\n"), values),
    }


FILES = _files()
