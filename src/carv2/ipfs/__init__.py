"""Data of IPFS nodes and gateways, and carv2's data for them."""

from __future__ import annotations

__all__: list[str] = []
