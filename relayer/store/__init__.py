"""The Redis store: leases, facts, trees, lanes and what people ask of them."""

from __future__ import annotations

from relayer.store.audit import ActPage
from relayer.store.batches import LostBatches
from relayer.store.embedded import EmbeddedRedis
from relayer.store.notices import Notice, WebhookState
from relayer.store.operator import Operated
from relayer.store.replicas import Place
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
    RouteState,
    SaveResult,
    Settlement,
    StatusCount,
    TreeState,
)
from relayer.store.store import Store

__all__ = [
    "ActPage",
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
    "Notice",
    "Operated",
    "Page",
    "Place",
    "Rescan",
    "Role",
    "RollbackResult",
    "RouteState",
    "SaveResult",
    "Settlement",
    "StatusCount",
    "Store",
    "TreeState",
    "WebhookState",
]
