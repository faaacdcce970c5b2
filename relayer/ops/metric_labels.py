"""The values that labels of metrics may have, and the buckets of histograms: all closed lists."""

from __future__ import annotations

from relayer.errors import RelayerError

STAGES = (
    "seen_to_ready",
    "ready_to_submitted",
    "submitted_to_included",
    "seen_to_delivered",
)
"""Parts of a message's walk that are timed; others raise KeyError."""

STAGE_BUCKETS = (0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600, 1800, 3600, 21_600, 86_400, 691_200)
"""Seconds, from one fast block to the eight days of the slowest challenge windows."""

RPC_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

STORE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2)

STORE_ERRORS = ("store_unavailable", "timeout", "other")
"""Why Redis did not answer; anything else counts as `other`."""

RPC_METHODS = frozenset(
    {
        "eth_blockNumber",
        "eth_call",
        "eth_chainId",
        "eth_estimateGas",
        "eth_feeHistory",
        "eth_gasPrice",
        "eth_getBalance",
        "eth_getBlockByHash",
        "eth_getBlockByNumber",
        "eth_getBlockReceipts",
        "eth_getCode",
        "eth_getLogs",
        "eth_getProof",
        "eth_getStorageAt",
        "eth_getTransactionByHash",
        "eth_getTransactionCount",
        "eth_getTransactionReceipt",
        "eth_maxPriorityFeePerGas",
        "eth_sendRawTransaction",
        "eth_subscribe",
        "batch",
    }
)
"""Methods with a label of their own; any other one counts as `other`."""

TX_OUTCOMES = (
    "broadcast",
    "mined",
    "reverted",
    "replaced",
    "replaced_by_stranger",
    "cancelled",
    "refused",
)
"""What becomes of a transaction; any other word counts as `other`."""

SIGNING_BUCKETS = (0.001, 0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

SIGNING_ERRORS = ("signer_unavailable", "signing_refused")
"""Why there was no signature; a cancelled one is none of them."""

REFUSALS = ("no_token", "wrong_token", "many_tokens", "too_many_failures", "too_many_requests")
"""Why the operator API turned a request away."""

RELOADS = ("taken_up", "unchanged", "refused", "busy")
"""`busy`: asked for during another one, which is no word about the configuration."""

ACT_OUTCOMES = ("ok", "refused", "failed")

LEASE_ROLES = ("follower", "lane")


def _error_labels() -> frozenset[str]:
    found: set[str] = set()
    pending: list[type[RelayerError]] = [RelayerError]
    while pending:
        kind = pending.pop()
        found.add(kind.label)
        pending.extend(kind.__subclasses__())
    return frozenset(found)


RPC_OUTCOMES = _error_labels() | {"ok", "timeout", "rate_limited"}
"""`ok` or the label of an error class; anything else counts as `other`."""
