#!/usr/bin/env python3
"""Have every call of every scenario fail in every way, and cut the power at every moment; count what was tried.

``python tests/faults/run.py [NAME ...]`` takes about ten minutes. The last line is JSON: per scenario its calls,
the faults of each kind, and the power cuts. Ends with 1 if anything went wrong, which is told with its number.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pytest

from faults.scenarios import ALL
from faults.trying import FAULTS, Trial


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *ALL], metavar="NAME", help=", ".join(ALL))
    parser.add_argument("--subsets", type=int, default=32, help="of what is not synced, at each moment")
    parser.add_argument("--seed", type=int, default=1, help="for those that are drawn by chance")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # that something is broken is what is wanted here
    totals, failures = dict[str, dict[str, int]](), 0
    for name in options.names or ALL:
        with tempfile.TemporaryDirectory() as folder:
            trial = Trial(ALL[name], Path(folder), pytest.MonkeyPatch())
            totals[name], failed = try_all(trial, name, options.seed, options.subsets)
            failures += failed
        print(name, totals[name], flush=True)
    print(json.dumps({"scenarios": totals, "failures": failures}))
    return int(failures > 0)


def try_all(trial: Trial, name: str, seed: int, subsets: int) -> tuple[dict[str, int], int]:
    """What was tried, and how often it went wrong."""
    calls, failures = trial.calls(), 0
    totals = {"calls": calls, **dict.fromkeys(FAULTS, 0), "power cuts": 0}
    for kind in FAULTS:
        for number in range(1, calls + 1):
            try:
                totals[kind] += trial.fail(kind, number)
            except Exception:  # noqa: BLE001  (all of them are told)
                failures += 1
                print(f"{name}: {kind} at call {number}", traceback.format_exc(), sep="\n", flush=True)
    trial.in_halves()
    if trial.scenario.is_durable:
        totals["power cuts"] = trial.cut_power(seed, subsets=subsets)
    return totals, failures


if __name__ == "__main__":
    sys.exit(main())
