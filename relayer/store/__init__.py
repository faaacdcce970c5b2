"""The Redis store: leases, facts, trees, lanes and what people ask of them."""

from __future__ import annotations

from relayer.store.batches import LostBatches
from relayer.store.embedded import EmbeddedRedis
from relayer.store.rescans import Rescan
from relayer.store.shapes import (
    Attempt,
    Charge,
    CostTotal,
    Cursor,
    Delivery,
    Failure,
    Inclusion,
    Intent,
    IntentCall,
    Lease,
    Memory,
    Page,
    Role,
    RollbackResult,
    SaveResult,
    Settlement,
    StatusCount,
    TreeState,
)
from relayer.store.store import Store

__all__ = [
    "Attempt",
    "Charge",
    "CostTotal",
    "Cursor",
    "Delivery",
    "EmbeddedRedis",
    "Failure",
    "Inclusion",
    "Intent",
    "IntentCall",
    "Lease",
    "LostBatches",
    "Memory",
    "Page",
    "Rescan",
    "Role",
    "RollbackResult",
    "SaveResult",
    "Settlement",
    "StatusCount",
    "Store",
    "TreeState",
]
