"""The fixtures that other programs made; they lie beside the checkout, not in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_CHECKOUT = Path(__file__).resolve().parents[2]


def shared_folder() -> Path:
    """``$CARV2_SHARED``, or ``../shared`` beside the checkout; it may not exist."""
    return Path(os.environ.get("CARV2_SHARED") or _CHECKOUT.parent / "shared")


def shared_fixture(name: str) -> Path:
    """The path of another program's fixture, such as ``go-car/sample-v1.car``; skips where missing."""
    path = shared_folder() / "fixtures" / name
    if not path.exists():
        pytest.skip(f"{path} is missing: set CARV2_SHARED to the folder that holds fixtures/{name}")
    return path


def own_fixture(name: str) -> Path:
    """The path of a fixture of this project."""
    return _CHECKOUT / "fixtures" / name
