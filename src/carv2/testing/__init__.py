"""For people who write stores of their own: the tests that carv2's stores pass, to be run on theirs.

Needs pytest and hypothesis (the extra ``test``); nothing else in carv2 imports it.
"""

from __future__ import annotations

from carv2.testing.blockstores import BlockstoreTests, WritableBlockstoreTests

__all__ = ["BlockstoreTests", "WritableBlockstoreTests"]
