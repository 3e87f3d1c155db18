"""Tokens, and the secret that they are signed with."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2.errors import TokenError
from carv2.rpc import Permission, load_or_make_secret, make_token, read_token
from rpc.inprocess import EVERYTHING, SECRET

if TYPE_CHECKING:
    from pathlib import Path


@given(st.sets(st.sampled_from(EVERYTHING), min_size=1), st.binary(min_size=32, max_size=80))
def test_a_token_says_what_it_was_made_for(allow: set[str], secret: bytes) -> None:
    assert read_token(secret, make_token(secret, allow)) == allow


@given(st.text())
def test_no_text_is_a_token_by_chance(text: str) -> None:
    with pytest.raises(TokenError):
        read_token(SECRET, text)


@given(st.integers(0), st.integers(1, 255))
def test_a_token_that_was_changed_is_none(position: int, change: int) -> None:
    token = make_token(SECRET, ["read"])
    position %= token.rindex(".")  # the last character of a signature has bits to spare
    changed = token[:position] + chr(ord(token[position]) ^ change) + token[position + 1 :]
    with pytest.raises(TokenError):
        read_token(SECRET, changed)


def test_a_token_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_token(SECRET, make_token(SECRET, [Permission.READ], expires=time.time() + 100)) == {"read"}
    with pytest.raises(TokenError, match="the token has expired"):
        read_token(SECRET, make_token(SECRET, ["read"], expires=time.time() - 1))


def signed(claims: Any, header: bytes = b'{"alg":"HS256","typ":"JWT"}') -> str:
    """A token of this server with whatever in it."""

    def text(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    content = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    message = f"{text(header)}.{text(content)}"
    return f"{message}.{text(hmac.new(SECRET, message.encode(), hashlib.sha256).digest())}"


@pytest.mark.parametrize(
    "token",
    [
        signed({"Allow": ["read"], "exp": float("inf")}),
        signed({"Allow": ["read"], "exp": float("nan")}),
        signed({"Allow": ["read"], "nbf": float("inf")}),
        signed({"Allow": ["read"], "exp": [1]}),
        signed({"Allow": ["read"], "nbf": None}),
        signed(b"[" * 1500),
        signed({"Allow": ["read"]}, header=b"[" * 1500),
        signed({"Allow": ["read"]}, header=b'{"alg":' + b"[" * 1500),
        signed({"Allow": ["read"]}, header=b'{"alg":"HS256","kid":' + b"9" * 5000 + b"}"),
        signed({"Allow": ["read"], "x": "y" * 4096}),
        signed({"Allow": ["read"]}) + "=",
        " " + signed({"Allow": ["read"]}),
    ],
)
@pytest.mark.parametrize("raised", [None, RecursionError, OverflowError, ValueError, TypeError])
def test_a_hostile_token_is_none_whatever_the_library_makes_of_it(
    token: str, raised: type[Exception] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_: Any, **__: Any) -> Any:
        assert raised is not None
        raise raised("as old versions do")

    if raised is not None:
        monkeypatch.setattr(jwt, "decode", decode)
    with pytest.raises(TokenError, match="not a token of this server"):
        read_token(SECRET, token)


def test_what_is_signed_here_is_a_token() -> None:
    assert read_token(SECRET, signed({"Allow": ["read"]})) == {"read"}


def test_a_token_is_for_something_that_there_is() -> None:
    with pytest.raises(ValueError, match="a token for nothing"):
        make_token(SECRET, [])
    with pytest.raises(ValueError, match="root"):
        make_token(SECRET, ["root"])


def test_a_short_secret_is_none() -> None:
    for call in (lambda: make_token(b"x" * 31, ["read"]), lambda: read_token(b"x" * 31, "a.b.c")):
        with pytest.raises(ValueError, match="a secret of 31 bytes; 32 at least"):
            call()


def test_a_secret_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        secret = load_or_make_secret(tmp_path / "secret")
    finally:
        os.umask(old)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert load_or_make_secret(tmp_path / "secret") == secret
    assert len(secret) == 32
    assert load_or_make_secret(tmp_path / "other") != secret
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "secret"]


def test_many_that_make_it_at_once_have_the_same(tmp_path: Path) -> None:
    found: set[bytes] = set()
    threads = [threading.Thread(target=lambda: found.add(load_or_make_secret(tmp_path / "s"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o620])
def test_a_secret_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret"
    load_or_make_secret(path)
    path.chmod(mode)
    with pytest.raises(PermissionError, match="mode 0600"):
        load_or_make_secret(path)


@pytest.mark.parametrize("text", [b"", b"fish", b"00" * 31, b"\xff" * 64], ids=range(4))
def test_a_file_with_something_else_in_it_is_no_secret(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(ValueError, match="holds no secret"):
        load_or_make_secret(path)
    assert path.read_bytes() == text


def test_what_is_no_small_file_is_no_secret(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(OSError, match="not a regular file"):
        load_or_make_secret(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file") as caught:
        load_or_make_secret(tmp_path)
    assert caught.value.filename == str(tmp_path)
    (tmp_path / "large").write_bytes(b"00" * 3000)
    (tmp_path / "large").chmod(0o600)
    with pytest.raises(OSError, match="more than 4096 bytes"):
        load_or_make_secret(tmp_path / "large")
    with pytest.raises(FileNotFoundError):
        load_or_make_secret(tmp_path / "nowhere" / "secret")


def test_the_package_is_light_and_says_what_it_needs() -> None:
    code = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in {"starlette", "jwt"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
import carv2.rpc, carv2.ipfs
print(sorted({"starlette", "uvicorn", "websockets", "httpx", "jwt"} & set(sys.modules)))
for call in (lambda: carv2.rpc.create_app, lambda: carv2.rpc.make_token(bytes(32), ["read"])):
    try:
        call()
    except ModuleNotFoundError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "[]",
        "carv2.rpc needs starlette: pip install 'carv2[rpc]'",
        "tokens need PyJWT: pip install 'carv2[rpc]'",
    ]
