"""Reading and writing at the same time."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PIECES = 4
"""That wait to be taken: as many blocks, so 32 MiB at most."""


def ahead(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same pieces, the next ones fetched by another thread while one is used; its exceptions come out here.

    >>> list(ahead([b"1", b"2"]))
    [b'1', b'2']
    """
    waiting: queue.Queue[bytes | BaseException | None] = queue.Queue(_PIECES)
    is_over = threading.Event()
    thread = threading.Thread(target=_fetch, args=(pieces, waiting, is_over), daemon=True)
    thread.start()
    try:
        while (piece := waiting.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
    finally:
        is_over.set()
        with contextlib.suppress(queue.Empty):  # the other thread may wait for room
            while True:
                waiting.get_nowait()
        thread.join()


def _fetch(
    pieces: Iterable[bytes], waiting: queue.Queue[bytes | BaseException | None], is_over: threading.Event
) -> None:
    end: BaseException | None = None
    try:
        for piece in pieces:
            waiting.put(piece)
            if is_over.is_set():
                return
    except BaseException as error:  # noqa: BLE001  (raised again where the pieces are used)
        end = error
    waiting.put(end)
