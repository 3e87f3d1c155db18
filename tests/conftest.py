"""Settings and fixtures that every test shares."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from carv2 import _scan
from helpers import leaks

if TYPE_CHECKING:
    from collections.abc import Iterator

settings.register_profile("carv2", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("carv2")


def pytest_configure(config: pytest.Config) -> None:
    """Look for what modules leave behind, if somebody wants it."""
    if os.environ.get("CARV2_LEAKS"):
        config.pluginmanager.register(leaks)


@pytest.fixture(scope="module", params=[_scan._WARM_UP, 1], ids=["cold", "warm"])
def scanner_warmth(request: pytest.FixtureRequest) -> Iterator[None]:
    """The first sections of an archive take the scanner's careful path, all others its fast one: try both.

    For a module whose archives are too small to get to the fast path: ``pytestmark =
    pytest.mark.usefixtures("scanner_warmth")``.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_scan, "_WARM_UP", request.param)
        yield
