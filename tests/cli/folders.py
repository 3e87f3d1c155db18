"""Archives of files and directories that the transcripts talk about."""

from __future__ import annotations

from helpers import archives
from helpers.unixfs import Dag, Made, unixfs


def _folder() -> tuple[Dag, Made, Made]:
    dag = Dag()
    readme, lost = dag.raw(b"read me\n"), dag.raw(b"lost\n")
    docs = dag.directory({"copy.txt": readme, "readme.txt": readme})
    parts = [dag.raw(b"fish\n"), dag.raw(b"lobster\n"), dag.raw(b"barreleye\n")]
    root = dag.directory(
        {
            "big.bin": dag.file(parts),
            "docs": docs,
            "docs-again": docs,
            "link": dag.symlink(b"docs/readme.txt"),
            "lost.txt": lost,
            "name\x1b[31m\u202e\n": dag.raw(b"named by an enemy\n"),
            "old.txt": dag.leaf(b"as in old days\n", v0=True),
        }
    )
    return dag, root, lost


def _sharded() -> tuple[Dag, Made]:
    dag = Dag()
    return dag, dag.hamt({f"{at}.txt": dag.raw(b"%d\n" % at) for at in range(30)}, fanout=16)


def _lost() -> bytes:
    """A file that is missing, and shards that lead to each other and nowhere, as if they were 8**10 of them."""
    dag = Dag()
    gone = [dag.leaf(b"a file"), dag.leaf(b"a shard")]
    made = gone[1]
    for _ in range(10):
        made = dag.shard([(b"%X" % at, made) for at in range(8)], b"\xff", fanout=8)
    entries = {"a.txt": dag.raw(b"a\n"), "gone": gone[0], "shards": made, "z.txt": dag.raw(b"z\n")}
    return dag.archive(dag.directory(entries), without=[made.cid for made in gone])


def _bomb(leaf: bytes) -> bytes:
    dag = Dag()
    made = dag.raw(leaf)
    for _ in range(10):
        made = dag.directory({f"{at:02}": made for at in range(64)})
    return dag.archive(made)


def _files() -> dict[str, bytes]:
    dag, root, lost = _folder()
    sharded, shards = _sharded()
    a_shard = next(cid for cid in sharded.blocks if cid[1] == archives.DAG_PB)
    liar, values = Dag(), Dag()
    lying = liar.directory({"lies": liar.file([liar.raw(b"fish")], sizes=[5], size=5)})
    leaf = values.directory({"deep.txt": values.raw(b"deep\n")})
    block = b"\xa2\x61n\x07\x64tree" + archives.link(leaf.cid)
    value = values.put(block, codec=archives.DAG_CBOR)
    bad = liar.directory(
        {"bad": liar.node([], unixfs(5, b"\x01", hash_type=0x22, fanout=7)), "ok": liar.raw(b"ok")}
    )
    return {
        "folder.car": dag.archive(root, without=[lost.cid]),
        "damaged-folder.car": dag.archive(root)
        .replace(b"lobster\n", b"l0bster\n")
        .replace(b"old days", b"0ld days"),
        "two-folders.car": dag.archive(dag.directory({"a": root}), dag.directory({"b": root}), without=[lost.cid]),
        "single.car": dag.archive(dag.raw(b"one file\n")),
        "sharded.car": sharded.archive(shards),
        "some-shards.car": sharded.archive(shards, without=[a_shard]),
        "lying-size.car": liar.archive(lying),
        "bad-fanout.car": liar.archive(bad),
        "lost-shards.car": _lost(),
        "bomb-a.car": _bomb(b"a"),
        "bomb-b.car": _bomb(b"b"),
        "values.car": values.archive(value),
    }


FILES = _files()
