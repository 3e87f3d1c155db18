"""When an errored shard is tried again without anybody asking: so often, with longer and longer breaks."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carv2.dagstore.catalogue import ShardRow
    from carv2.dagstore.config import DagStoreConfig

__all__ = ["RecoveryPolicy"]


class RecoveryPolicy:
    """Counts attempts by shard since the store was opened; a success takes them back."""

    def __init__(self, config: DagStoreConfig) -> None:
        self._is_automatic = config.recover_on_start != "no"
        self._most, self._backoff = config.max_recover_attempts, config.recover_backoff
        self._lock = threading.Lock()
        self._attempts: dict[str, int] = {}

    def take(self, row: ShardRow) -> bool:
        """Whether the errored shard may be tried now; if so, that counts as an attempt."""
        with self._lock:
            made = self._attempts.get(row.key, 0)
            is_due = time.time() - row.updated >= self._backoff * 2**made
            if not self._is_automatic or made >= self._most or not is_due:
                return False
            self._attempts[row.key] = made + 1
            return True

    def forget(self, key: str) -> None:
        """It works again, or is gone."""
        with self._lock:
            self._attempts.pop(key, None)
