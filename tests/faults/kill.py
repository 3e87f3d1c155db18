#!/usr/bin/env python3
"""Kill writers at random moments, and count what of that which they said to be safe is lost.

``python tests/faults/kill.py --minutes 20``; the last line is JSON: per victim kills, acknowledged and lost.
Ends with 1 if anything was lost, and with an exception if what is there is not sound.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from faults.victims import all_victims


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=None, help="of the moments; printed if not given")
    options = parser.parse_args()
    seed = random.randrange(1 << 30) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    logging.getLogger("carv2.imports").setLevel(logging.CRITICAL)  # of a killed import it says that it is broken
    with tempfile.TemporaryDirectory() as folder:
        totals = run(Path(folder), random.Random(seed), options.minutes * 60)
    print(json.dumps(totals))
    return int(any(total["lost"] for total in totals.values()))


def run(folder: Path, rng: random.Random, seconds: float) -> dict[str, dict[str, int]]:
    """Kill one after the other until the time is over; each at least once."""
    end, victims = time.monotonic() + seconds, all_victims(folder)
    totals = {name: {"kills": 0, "acknowledged": 0, "lost": 0} for name in victims}
    while True:
        for name, victim in victims.items():
            try:
                toll = victim.kill(rng)
            except BaseException:
                print(f"{name} is not sound after {totals}", file=sys.stderr)
                raise
            totals[name]["kills"] += 1
            totals[name]["acknowledged"] += toll.safe
            totals[name]["lost"] += toll.lost
        if time.monotonic() > end:
            return totals


if __name__ == "__main__":
    sys.exit(main())
