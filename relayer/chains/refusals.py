"""What the error object of a JSON-RPC reply means: the one place that reads nodes' wording.

A refusal is the chain's word (`CallReverted`, `RpcRefused`), a lack of the endpoint
(`StaleEndpoint`, `RangeTooWide`), or the endpoint asking to be left alone (`EndpointDown`).
"""

from __future__ import annotations

import re

from relayer.chains.logs import is_range_refusal
from relayer.errors import (
    MAX_REVERT_BYTES,
    CallReverted,
    EndpointDown,
    RangeTooWide,
    RelayerError,
    RpcRefused,
    StaleEndpoint,
)

RATE_LIMITED = "rate limited"
"""The cause of an `EndpointDown` that only asks for fewer requests."""

REVERT_CODE = 3
"""An execution error with data (execution-apis, `eth_call`)."""
NOT_SERVED_CODES = frozenset({-32601, -32004})
"""Method not found or not supported (EIP-1474): another endpoint may serve it."""
INTERNAL_CODE = -32603
MAX_REVERT_DIGITS = 2 * MAX_REVERT_BYTES
"""As much revert data as `CallReverted` keeps."""

_EXECUTES = frozenset({"eth_call", "eth_estimateGas", "eth_createAccessList"})
_RATE = re.compile(
    r"rate.?limit|too many requests|compute units|request(s)? (count|limit)|throughput"
    r"|capacity (exceeded|limit)|exceeded (its|the|your) .{0,30}(limit|capacity|quota)|quota",
    re.IGNORECASE,
)
_RATE_CODES = frozenset({429, -32005, -32016, -32097})
"""HTTP's own, EIP-1474's "limit exceeded", and two that hosted nodes use for the same."""
_LACKS = re.compile(
    r"header not found|unknown block|block .{0,80}not found|block not available|missing trie node"
    r"|state .{0,80}(not available|unavailable|pruned)|pruned|ahead of (the )?(chain|head|latest)"
    r"|beyond (current|the|latest) (head|block)|block range extends beyond|not.yet.available"
    r"|could not find block|resource not found|historical state",
    re.IGNORECASE,
)
_REVERT = re.compile(
    r"revert|out.?of.?gas|gas required exceeds|invalid (opcode|jump)|stack (under|over)flow"
    r"|vm execution error|evm error|always failing transaction",
    re.IGNORECASE,
)


def refusal(method: str, error: object, *, endpoint: str) -> RelayerError:
    """Map one error object; its text must be clean of secrets already (see `Endpoint`)."""
    if not isinstance(error, dict):
        return EndpointDown(endpoint, "the error of a reply is not an object")
    number = error.get("code")
    code = number if isinstance(number, int) else 0
    text = str(error.get("message", ""))
    if method in _EXECUTES:
        found = revert_bytes(error.get("data"))
        if code == REVERT_CODE or found or _REVERT.search(text):
            return CallReverted(text or "execution reverted", found)
    if method == "eth_getLogs" and is_range_refusal(text) and not _LACKS.search(text):
        return RangeTooWide(text)
    if code in _RATE_CODES or _RATE.search(text):
        return EndpointDown(endpoint, f"{RATE_LIMITED}: {text}")
    if method != "eth_sendRawTransaction" and _LACKS.search(text):
        return StaleEndpoint(f"endpoint {endpoint}: {text}")
    return RpcRefused(code, text)


def may_differ_elsewhere(error: RelayerError) -> bool:
    """Whether another endpoint could well answer what this one refused."""
    if isinstance(error, (StaleEndpoint, EndpointDown)):
        return True
    return isinstance(error, RpcRefused) and error.code in NOT_SERVED_CODES | {INTERNAL_CODE}


def revert_bytes(found: object, *, depth: int = 3) -> bytes:
    """Revert data wherever clients put it, bounded.

    geth and most others: a hex string; OpenEthereum and Nethermind: `Reverted 0x...`; Hardhat and
    hosted nodes: an object that holds it under `data` or `originalError`.
    """
    if isinstance(found, dict) and depth:
        inner = found.get("data") or found.get("originalError") or found.get("result")
        return revert_bytes(inner, depth=depth - 1)
    if not isinstance(found, str):
        return b""
    digits = found.removeprefix("Reverted ")
    if not digits.startswith("0x"):
        return b""
    digits = digits[2 : 2 + MAX_REVERT_DIGITS]
    if digits.strip("0123456789abcdefABCDEF"):
        return b""
    return bytes.fromhex(digits[: len(digits) // 2 * 2])
