"""What the tests of the DAG store share for as long as their process lives."""

from __future__ import annotations

import contextlib

import pytest


@pytest.fixture(scope="session", autouse=True)
def loop_of_fsspec() -> None:
    """The thread that fsspec asks web servers in: there is one in a process, from its first request on."""
    with contextlib.suppress(ImportError):
        from fsspec.asyn import get_loop

        get_loop()
