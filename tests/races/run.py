"""Run all races in turn for as long as you like: ``python tests/races/run.py --minutes 20``."""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from races import racing
from races.table import FAULTS, PROCESSES, THREADS


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seconds-each", type=float, default=5.0, help="of a race, before the next has its turn")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument(
        "--race", action="append", choices=[*THREADS, *PROCESSES], help="only this one; repeatable"
    )
    parser.add_argument("--broken", action="store_true", help="with its fault put in, until the race is lost")
    return parser.parse_args()


def _one(name: str, seed: int, seconds: float, *, broken: bool) -> int:
    """How many steps were taken."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as held:
        if name in PROCESSES:  # which put their faults in themselves
            return PROCESSES[name](Path(folder), seed=seed, seconds=seconds, broken=broken)
        if broken:
            racing.SHAKEN, racing.LONGEST = 0.3, 10.0
            held.enter_context(FAULTS[name].put_in())
        return racing.run(name, THREADS[name], Path(folder), seed=seed, seconds=seconds).total()


def main() -> int:
    """Exit code 1 if a race was lost; which, and its seed, is said then."""
    asked = _parsed()
    begun, seed, lost = time.monotonic(), asked.seed, 0
    steps: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    while time.monotonic() - begun < 60 * asked.minutes and not (lost and asked.broken):
        for name in asked.race or [*THREADS, *PROCESSES]:
            start = time.monotonic()
            try:
                steps[name] += _one(name, seed, asked.seconds_each, broken=asked.broken)
            except Exception as error:  # noqa: BLE001  (counted, and told)
                lost += 1
                print(f"LOST: {name} --seed {seed}: {error}", file=sys.stderr, flush=True)
            seconds[name] += round(time.monotonic() - start)
        seed += 1
    found = {"minutes": round((time.monotonic() - begun) / 60, 1), "first_seed": asked.seed, "lost": lost}
    print(json.dumps({**found, "steps": steps, "all_steps": steps.total(), "seconds": seconds}, indent=2))
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
