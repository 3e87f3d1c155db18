"""Which binary CIDs were met, in sets of which Python's garbage collector takes no notice.

It goes through each element of a set, and each dict that may hold a container, time and again: millions of keys
would cost the work on each block more the more there are. A dict of bytes and None holds none, and up to
Python 3.13 the collector knows.
"""

from __future__ import annotations

from typing import TypeAlias

Seen: TypeAlias = "dict[bytes, None]"
"""``seen[cid] = None`` adds one, ``cid in seen`` looks for it; of no other use."""
