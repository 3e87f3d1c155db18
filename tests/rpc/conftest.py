"""A served store for the tests that want nothing special of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rpc.inprocess import Service, service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One with an empty store, for calls that change nothing."""
    with service(tmp_path_factory.mktemp("idle")) as found:
        yield found
