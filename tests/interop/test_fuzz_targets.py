"""Go beside the fuzz targets: what is accepted here is what Go reads, on every seed and every crash of old."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fuzz.go import DisagreementError, GoPeer
from fuzz.target import Question
from fuzz.targets import TARGETS

if TYPE_CHECKING:
    from fuzz.target import Target
    from interop.conftest import Peer

ASKED = {name: target for name, target in TARGETS.items() if target.ask is not None}


@pytest.mark.parametrize("target", ASKED.values(), ids=ASKED)
def test_go_agrees_about_the_seeds(go: Peer, target: Target) -> None:
    assert target.ask is not None
    with GoPeer(go.command[0]) as peer:
        for path in target.seeds():
            question = target.ask(path.read_bytes())
            if question is not None:
                peer.check(question)
        assert peer.asked


def test_what_go_says_otherwise_is_found(go: Peer) -> None:
    with GoPeer(go.command[0]) as peer:
        assert peer.answers([Question("varint", b"\x05", None), Question("cid", b"", None)]) == ["ok 5 1", "error"]
        with pytest.raises(DisagreementError, match="Go says 'ok 5 1', carv2 'ok 6 1'"):
            peer.check(Question("varint", b"\x05", "ok 6 1"))
        with pytest.raises(DisagreementError, match="Go says 'error', carv2 'accepts it'"):
            peer.check(Question("selector", b"{", None))


def test_many_questions_at_once_do_not_stop_the_pipes(go: Peer) -> None:
    with GoPeer(go.command[0]) as peer:
        header = ASKED["carv1-header"].ask
        assert header is not None
        question = header((ASKED["carv1-header"].folder / "two-roots").read_bytes())
        assert question is not None
        assert set(peer.answers([question] * 2000)) == {question.expected}
