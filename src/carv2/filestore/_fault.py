"""Why a reference could not be followed, on its way to whoever knows which block it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carv2.filestore.status import Status


class Fault(Exception):  # noqa: N818  (a finding, which becomes an error or a status)
    """``detail`` says in words what ``status`` says as a number."""

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
