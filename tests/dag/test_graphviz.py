"""Drawings: each block a node, each pair of linked blocks an edge, and no name that ends a string early."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

import carv2
from carv2.blockstore import MemoryBlockstore
from carv2.dag import dot
from dag.dags import Dag, dags, doubling, is_identity, pb_node
from helpers import archives
from helpers.archives import DAG_PB, FISH, cid_v1

NODE = re.compile(r'  (n\d+|more) \[label="((?:[^"\\]|\\.)*)"(?:, peripheries=2)?(, style=dashed)?\];')
EDGE = re.compile(r'  (n\d+) -> (n\d+|more)(?: \[label="((?:[^"\\]|\\.)*)"\])?;')


def drawn(lines: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Nodes and edges; every line must be one or the other."""
    assert lines[:2] == ["digraph dag {", "  node [shape=box, fontname=monospace];"]
    assert lines[-1] == "}"
    nodes: list[str] = []
    edges: list[tuple[str, str]] = []
    for line in lines[2:-1]:
        edge = EDGE.fullmatch(line)
        if edge:
            edges.append((edge[1], edge[2]))
        else:
            node = NODE.fullmatch(line)
            assert node, line
            nodes.append(node[1])
    return nodes, edges


@settings(max_examples=40)
@given(dags())
def test_each_block_is_a_node_and_each_pair_an_edge(dag: Dag) -> None:
    nodes, edges = drawn(list(dot(MemoryBlockstore(dag.blocks.items(), whole_cids=True), dag.roots)))
    reached: dict[bytes, None] = {}
    pending = list(dag.roots)
    while pending:
        cid = pending.pop()
        if cid not in reached:
            reached[cid] = None
            pending += dag.links[cid] if cid in dag.blocks or is_identity(cid) else []
    pairs = {(cid, child) for cid in reached if cid in dag.blocks or is_identity(cid) for child in dag.links[cid]}
    assert len(nodes) == len(set(nodes)) == len(reached)
    assert len(edges) == len(set(edges)) == len(pairs)
    assert {name for edge in edges for name in edge} <= set(nodes)


@given(st.text(max_size=60) | st.binary(max_size=20).map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_a_name_stays_within_its_quotes(name: str) -> None:
    try:
        data = pb_node([FISH[0]], names=[name])
    except UnicodeEncodeError:
        return
    top = (cid_v1(data, codec=DAG_PB), data)
    lines = list(dot(MemoryBlockstore([top, FISH]), top[0]))
    drawn(lines)
    assert all(line.isprintable() for line in lines)


def test_names_that_would_end_a_label() -> None:
    data = pb_node([FISH[0], FISH[0]], names=['"]; n9 [label="\\', "x"])
    top = (cid_v1(data, codec=DAG_PB), data)
    lines = list(dot(MemoryBlockstore([top, FISH]), top[0]))
    assert '  n0 -> n1 [label="\\"]; n9 [label=\\"\\\\ (2 links)"];' in lines


def test_what_is_left_out_is_counted() -> None:
    dag = doubling(10)
    store = MemoryBlockstore(dag.blocks.items())
    nodes, edges = drawn(list(dot(store, dag.roots, max_nodes=4)))
    assert nodes == ["n0", "n1", "n2", "n3", "more"]
    assert edges == [("n0", "n1"), ("n1", "n2"), ("n2", "n3"), ("n3", "more")]
    top = archives.node(*(cid_v1(b"%d" % at) for at in range(1500)))
    lines = list(dot(MemoryBlockstore([top]), top[0]))
    assert '  more [label="501 more blocks", style=dashed];' in lines
    assert len(drawn(lines)[0]) == 1001


def test_missing_and_damaged_blocks_are_dashed() -> None:
    broken = (cid_v1(b"\x82", codec=archives.DAG_CBOR), b"\x82")
    pb = (cid_v1(b"\xff", codec=DAG_PB), b"\xff")
    top = archives.node(FISH[0], broken[0], pb[0])
    lines = list(dot(MemoryBlockstore([top, broken, pb]), [top[0], top[0]]))
    assert [line.endswith(", style=dashed];") for line in lines if "label" in line] == [False, True, True, True]
    assert sum("damaged" in line for line in lines) == 2
    assert f"...{str(carv2.CID(FISH[0]))[-8:]}\\nraw, missing" in "".join(lines)


@given(st.binary(max_size=300))
def test_a_node_has_the_end_of_its_cid(data: bytes) -> None:
    cid = carv2.CID(archives.identity(data))
    (line,) = (line for line in dot({}, cid) if "label" in line)
    assert f'"...{str(cid)[-8:]}\\n' in line
