"""A node of our own that speaks Kubo's RPC out of a dict, as Kubo 0.43 does on the wire, and can misbehave."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import carv2
from carv2.cid import CID
from carv2.dag import export
from carv2.errors import BlockNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MAX_BLOCK = 2 << 20


class RefusedError(Exception):
    """The node says no."""


class Node:
    """What a node holds, what it was asked, and how it is to misbehave.

    ``instead`` maps calls to functions that answer in the node's place; they get the handler.
    """

    def __init__(self) -> None:
        self.blocks: dict[bytes, bytes] = {}
        self.pins: dict[CID, tuple[str, str]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.discards = False
        """Forget what is sent as it comes."""
        self.instead: dict[str, Callable[[Handler], None]] = {}
        self.url = ""

    def count(self, call: str) -> int:
        """How often ``call`` was made."""
        return sum(name == call for name, _ in self.asked)

    def get(self, text: str) -> bytes:
        cid = CID.of(text)
        if cid.multihash not in self.blocks:
            raise RefusedError(f"block was not found locally (offline): ipld: could not find {text}")
        return self.blocks[cid.multihash]

    def walk(self, root: CID) -> bytes:
        """A CARv1 of a DAG."""
        import io

        class Blocks(dict[CID, bytes]):
            def __missing__(inner, cid: CID) -> bytes:  # noqa: N805
                if (found := self.blocks.get(CID.of(cid).multihash)) is None:
                    raise BlockNotFoundError(CID.of(cid))
                return found

        sink = io.BytesIO()
        try:
            export(Blocks(), sink, root, version=1)
        except BlockNotFoundError as error:
            raise RefusedError(
                f"block was not found locally (offline): ipld: could not find {error.cid}"
            ) from None
        return sink.getvalue()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    node: Node

    def log_message(self, *_: object) -> None:
        pass

    def address_string(self) -> str:
        return "somebody"

    def setup(self) -> None:
        self.node.connections += 1
        super().setup()

    def do_POST(self) -> None:
        parts = urlsplit(self.path)
        call = parts.path.partition("/api/v0/")[2]
        options = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.node.asked.append((call, options))
        self.node.headers.append(dict(self.headers))
        self.options = options
        self.body = self._body()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if call in self.node.instead:
                self.node.instead[call](self)
                return
            work = getattr(self, "on_" + call.replace("/", "_"), None)
            if work is None:
                self.plain(404, b"404 page not found")
                return
            self._answer(work(options))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline() or b"0", 16):
            piece = self.rfile.read(size)
            body += b"" if self.node.discards else piece
            self.rfile.readline()
        self.rfile.readline()
        return body

    @property
    def files(self) -> list[bytes]:
        boundary = self.headers["Content-Type"].partition("boundary=")[2].encode()
        parts = self.body.split(b"--" + boundary)[1:-1]
        return [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts]

    # -- answers ----------------------------------------------------------------------------------------------

    def _answer(self, values: Iterator[Any]) -> None:
        """As Kubo: an error before the first value is a status, and a trailer behind it."""
        try:
            first = next(values, None)
        except RefusedError as error:
            self.refuse(str(error))
            return
        self.begin()
        try:
            while first is not None:
                self.chunk(first if isinstance(first, bytes) else json.dumps(first).encode() + b"\n")
                first = next(values, None)
        except RefusedError as error:
            self.end(str(error))
        else:
            self.end()

    def begin(self, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Trailer", "X-Stream-Error")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self, error: str = "") -> None:
        self.wfile.write(b"0\r\n" + (f"X-Stream-Error: {error}\r\n".encode() if error else b"") + b"\r\n")

    def refuse(self, message: str, status: int = 500) -> None:
        self.begin(status)
        self.chunk(json.dumps({"Message": message, "Code": 0, "Type": "error"}).encode() + b"\n")
        self.end()

    def plain(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    # -- calls ------------------------------------------------------------------------------------------------

    def on_version(self, _: dict[str, str]) -> Iterator[Any]:
        yield {"Version": "0.43.0-ours"}

    def on_block_get(self, options: dict[str, str]) -> Iterator[Any]:
        yield self.node.get(options["arg"])

    def on_block_stat(self, options: dict[str, str]) -> Iterator[Any]:
        yield {"Key": options["arg"], "Size": len(self.node.get(options["arg"]))}

    def on_block_put(self, options: dict[str, str]) -> Iterator[Any]:
        for data in self.files:
            if options["mhtype"] in {"md5", "murmur3-x64-64"}:
                raise RefusedError("potentially insecure hash functions not allowed")
            cid = CID.of_data(data, codec=int(options["cid-codec"]), hash=options["mhtype"])
            self.node.blocks[cid.multihash] = data
            if len(data) > MAX_BLOCK and options.get("allow-big-block") != "true":
                raise RefusedError("produced block is over 2MiB: ...")
            yield {"Key": str(cid), "Size": len(data)}

    def on_refs_local(self, _: dict[str, str]) -> Iterator[Any]:
        for multihash in list(self.node.blocks):
            yield {"Ref": str(CID.of_multihash(multihash)), "Err": ""}

    def on_dag_import(self, options: dict[str, str]) -> Iterator[Any]:
        (data,) = self.files
        try:
            with carv2.open(data) as car:
                blocks, roots = [block for block in car], car.roots  # noqa: C416
        except carv2.CarError as error:
            raise RefusedError(f"import failed: {error}") from None
        for block in blocks:
            self.node.blocks[block.cid.multihash] = block.data
        for root in roots if options["pin-roots"] == "true" else ():
            message = ""
            try:
                self.node.walk(root)
                self.node.pins[root] = ("recursive", "")
            except RefusedError as error:
                message = str(error)
            yield {"Root": {"Cid": {"/": str(root)}, "PinErrorMsg": message}}
        yield {"Stats": {"BlockCount": len(blocks), "BlockBytesCount": sum(len(block.data) for block in blocks)}}

    def on_dag_export(self, options: dict[str, str]) -> Iterator[Any]:
        car = self.node.walk(CID.of(options["arg"]))
        for at in range(0, len(car), 4096):
            yield car[at : at + 4096]

    def on_pin_add(self, options: dict[str, str]) -> Iterator[Any]:
        root = CID.of(options["arg"])
        yield {"Progress": 1}
        self.node.walk(root)
        self.node.pins[root] = (
            "recursive" if options["recursive"] == "true" else "direct",
            options.get("name", ""),
        )
        yield {"Pins": [str(root)]}

    def on_pin_rm(self, options: dict[str, str]) -> Iterator[Any]:
        if self.node.pins.pop(CID.of(options["arg"]), None) is None:
            raise RefusedError("not pinned or pinned indirectly")
        yield {"Pins": [options["arg"]]}

    def on_pin_ls(self, options: dict[str, str]) -> Iterator[Any]:
        if options["type"] not in {"recursive", "direct", "indirect", "all"}:
            raise RefusedError(f"invalid type '{options['type']}'")
        for cid, (kind, name) in self.node.pins.items():
            if options["type"] in {kind, "all"}:
                yield {"Cid": str(cid), "Type": kind, **({"Name": name} if name else {})}


class _OverSocket(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class _OverTcp(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass  # clients that hang up


@contextlib.contextmanager
def running(socket_path: Path | None = None) -> Iterator[Node]:
    """A node on a port of its own, or on a unix socket."""
    node = Node()
    handler = type("HandlerOfNode", (Handler,), {"node": node, "disable_nagle_algorithm": socket_path is None})
    server: socketserver.BaseServer
    if socket_path is not None:
        server, node.url = _OverSocket(str(socket_path), handler), f"unix://{socket_path}"
    else:
        server = _OverTcp(("127.0.0.1", 0), handler)
        node.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield node
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
