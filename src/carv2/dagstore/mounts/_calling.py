"""Calls of code that is not ours: what they raise becomes a MountError, and they may take only so long."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, TypeVar

from carv2.dagstore.mounts._urls import shown
from carv2.errors import CarError, MountError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

T = TypeVar("T")


class SequentialOnlyError(MountError):
    """The bytes can be read front to back only, whatever the mount said of itself."""


def front_to_back_only(why: str, url: str) -> SequentialOnlyError:
    """The error that says why bytes cannot be read anywhere."""
    return SequentialOnlyError(f"the mount can be read front to back only: {why}", url=shown(url))


def mount_error(message: str, url: str) -> MountError:
    """The error that ``message`` says of ``url``, which is shown without secrets."""
    return MountError(message, url=shown(url))


@contextlib.contextmanager
def calling(url: str) -> Generator[None]:
    """Make a MountError with ``url`` of whatever is raised in here; carv2's own errors pass."""
    try:
        yield
    except CarError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise mount_error("there is nothing", url) from error
    except Exception as error:
        raise mount_error(describe(error), url) from error


def describe(error: Exception) -> str:
    """The class of an exception and what it says, on one line."""
    text = " ".join(str(error).split())
    name = type(error).__name__
    return f"{name}: {shown(text)}" if text else name


def within(
    seconds: float | None, call: Callable[[], T], url: str, *, unwanted: Callable[[T], object] = lambda _: None
) -> T:
    """What ``call`` gives; MountError if it takes longer than ``seconds``: it then goes on by itself.

    What it gives too late is given to ``unwanted``.
    """
    if seconds is None:
        return call()
    lock, is_late = threading.Lock(), threading.Event()
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001  (raised below, in the caller's thread)
            errors.append(error)
            return
        with lock:
            if not is_late.is_set():
                results.append(result)
                return
        with contextlib.suppress(Exception):  # nobody is there to be told
            unwanted(result)

    thread = threading.Thread(target=work, daemon=True, name="carv2-mount")
    thread.start()
    thread.join(seconds)
    with lock:
        is_late.set()
    if errors:
        raise errors[0]
    if not results:
        raise mount_error(f"no answer within {seconds:g} s", url)
    return results[0]
