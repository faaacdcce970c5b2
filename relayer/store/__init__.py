"""The Redis store: leases, facts, trees, lanes and what people ask of them."""

from __future__ import annotations

from relayer.store.embedded import EmbeddedRedis
from relayer.store.shapes import (
    Attempt,
    CostTotal,
    Cursor,
    Delivery,
    Intent,
    IntentCall,
    Lease,
    Memory,
    Page,
    Role,
    RollbackResult,
    SaveResult,
    StatusCount,
    TreeState,
)
from relayer.store.store import Store

__all__ = [
    "Attempt",
    "CostTotal",
    "Cursor",
    "Delivery",
    "EmbeddedRedis",
    "Intent",
    "IntentCall",
    "Lease",
    "Memory",
    "Page",
    "Role",
    "RollbackResult",
    "SaveResult",
    "StatusCount",
    "Store",
    "TreeState",
]
