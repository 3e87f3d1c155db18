"""A pytest plugin: the same examples each time, none made smaller; the shortest tests first.

That a test fails is all that counts here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis

if TYPE_CHECKING:
    import pytest


def calm_hypothesis() -> None:
    """From here on, for tests that are not collected yet."""
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile(
        "mutation", parent=hypothesis.settings(), derandomize=True, database=None, phases=phases
    )
    hypothesis.settings.load_profile("mutation")


def pytest_collection() -> None:
    """After every conftest.py has loaded a profile of its own."""
    calm_hypothesis()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The shortest tests first, where it is known how long each takes: most mutants are killed by one of them."""
    known = Path(os.environ.get("CARV2_TEST_SECONDS", ""))
    if known.is_file():
        seconds = json.loads(known.read_text(encoding="utf-8"))
        items.sort(key=lambda item: seconds.get(item.nodeid, 0.0))
