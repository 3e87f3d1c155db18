"""A pytest plugin: the same examples each time, none made smaller. That a test fails is all that counts here."""

from __future__ import annotations

import hypothesis


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
