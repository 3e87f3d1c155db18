"""How a node is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import carv2
from carv2.ipfs.kubo import NodeAddress

RIGHT = {
    "http://127.0.0.1:5001": ("http://127.0.0.1:5001", "/api/v0/id"),
    "http://127.0.0.1:5001/": ("http://127.0.0.1:5001", "/api/v0/id"),
    "http://127.0.0.1:5001/api/v0": ("http://127.0.0.1:5001", "/api/v0/id"),
    "https://ipfs.example/node/": ("https://ipfs.example/node", "/node/api/v0/id"),
    "http://[::1]:5001": ("http://[::1]:5001", "/api/v0/id"),
    "/ip4/127.0.0.1/tcp/5001": ("http://127.0.0.1:5001", "/api/v0/id"),
    "/ip6/::1/tcp/5001/http": ("http://[::1]:5001", "/api/v0/id"),
    "/dns4/ipfs.example/tcp/443/https": ("https://ipfs.example:443", "/api/v0/id"),
    "/dns/ipfs.example/tcp/443/tls/http": ("https://ipfs.example:443", "/api/v0/id"),
    "/unix/run/kubo.sock": ("unix:///run/kubo.sock", "/api/v0/id"),
    "unix:///run/kubo.sock": ("unix:///run/kubo.sock", "/api/v0/id"),
}


@pytest.mark.parametrize("text", RIGHT)
def test_addresses(text: str) -> None:
    address = NodeAddress.of(text)
    assert (address.url, address.target("id")) == RIGHT[text]
    assert NodeAddress.of(address.url) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "localhost", "127.0.0.1:5001", "ftp://me:secret@host", "http://", "http://me:secret@:5001"),
        *("http://a\nb", "http://a\tb:1", "http://127.0.0.1:5001\n", "http://me:secret@a/b c"),
        *("http://me:secret@a..b", f"http://me:secret@{'a' * 70}"),
        *("http://me:secret@host:port", "http://me:secret@host:99999", "http://me:secret@host/?a=b"),
        *("/ip4/127.0.0.1", "/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/70000", "/ip4/127.0.0.1/udp/5001"),
        *("/ip6/\0/tcp/1", "/dns4/a@b/tcp/1", "/dns/a?b/tcp/1", "/dns4/a b/tcp/1", "/dns4/./tcp/1"),
        *("http://[::%@]", "http://[a@]"),
        *("unix://", "/unix/", "/p2p/12D3KooW", "http://me:secret@host/#x"),
    ],
)
def test_what_names_no_node(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        NodeAddress.of(text)
    assert "secret" not in str(caught.value)


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    for scheme in ("", "http://", "/ip4/", "/unix/"):
        try:
            address = NodeAddress.of(scheme + text)
        except ValueError:
            continue
        assert address.url


def test_the_stores_are_in_the_package_and_loaded_when_they_are_used() -> None:
    code = (
        "import sys, carv2.ipfs as i; assert 'carv2.ipfs.kubo' not in sys.modules;"
        "import carv2.ipfs.kubo as k; assert i.KuboBlockstore is k.KuboBlockstore;"
        "assert not {'asyncio', 'http.client', 'httpx'} & set(sys.modules);"
        "assert i.AsyncKuboBlockstore is k.AsyncKuboBlockstore"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(Path(carv2.__file__).parents[1])}
    )
