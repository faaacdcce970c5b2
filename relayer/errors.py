"""The error tree: every failure says whether to try again, give up on one message, or stop.

RelayerError
├── Transient          again soon; costs the message nothing but time
│   ├── EndpointDown       an RPC endpoint did not answer, or answered nonsense
│   ├── EndpointsExhausted no endpoint of a chain could answer
│   ├── RangeTooWide       the provider wants a smaller eth_getLogs range
│   ├── StaleEndpoint      the endpoint has not seen the block we asked about
│   ├── EndpointsDisagree  a quorum read found different answers
│   ├── SignerUnavailable  a key cannot sign now, or its keeper answered nonsense
│   ├── StoreUnavailable   Redis did not answer
│   └── LeaseLost          another replica holds the lane or follower now
├── Permanent          this message, call or input will not get better by itself
│   ├── CallReverted       the EVM ran the call and refused it
│   ├── RpcRefused         the node understood the request and refused it
│   ├── SigningRefused     a signer's own limits forbid the transaction
│   ├── BadChainData       a log, header or view does not have the promised shape
│   ├── IllegalTransition  the store refused a change of state
│   └── UnknownRecord      no such message, route or key
└── Fatal              misconfigured or unsafe: the process, or the chain's loop, must not go on
    ├── ConfigInvalid
    ├── ChainMismatch
    ├── SchemaMismatch
    ├── StoreUnsafe        Redis may lose or evict what we store
    └── ReorgTooDeep       a replaced block is older than the block hashes we remember
"""

from __future__ import annotations

from typing import ClassVar

MAX_REVERT_BYTES = 64 * 1024
"""An ERC-3668 look-up is a revert that holds a request; error texts are under 1 KiB."""


class RelayerError(Exception):
    """Root of the tree; `label` is the bounded metric label of the class."""

    label: ClassVar[str] = "error"


class Transient(RelayerError):
    """Try again soon; nothing is wrong with the message."""

    label = "transient"


class EndpointDown(Transient):
    """One RPC endpoint failed to answer; `endpoint` is its redacted name."""

    label = "endpoint_down"

    def __init__(self, endpoint: str, cause: str) -> None:
        super().__init__(f"endpoint {endpoint}: {cause}")
        self.endpoint = endpoint
        self.cause = cause


class EndpointsExhausted(Transient):
    """Every endpoint of a chain failed or is cooling down."""

    label = "endpoints_exhausted"


class RangeTooWide(Transient):
    """The provider refused an `eth_getLogs` range for its size; ask for less."""

    label = "range_too_wide"


class StaleEndpoint(Transient):
    """The endpoint does not know a block that the chain has; its answer cannot be used."""

    label = "stale_endpoint"


class EndpointsDisagree(Transient):
    """Fewer endpoints than the quorum gave the same answer."""

    label = "endpoints_disagree"


class SignerUnavailable(Transient):
    """A signature could not be had from `signer`; `lasting` when only a person can change that."""

    label = "signer_unavailable"

    def __init__(self, signer: str, cause: str, *, lasting: bool = False) -> None:
        super().__init__(f"signer {signer}: {cause}")
        self.signer = signer
        self.cause = cause
        self.lasting = lasting


class StoreUnavailable(Transient):
    """Redis did not answer in time or is not a primary."""

    label = "store_unavailable"


class LeaseLost(Transient):
    """The lease a write was made under is no longer ours; nothing was written."""

    label = "lease_lost"


class Permanent(RelayerError):
    """Trying the same thing again cannot help."""

    label = "permanent"


class CallReverted(Permanent):
    """The EVM refused the call; `revert` holds at most 64 KiB of its return data."""

    label = "call_reverted"

    def __init__(self, text: str, revert: bytes = b"") -> None:
        super().__init__(text)
        self.revert = revert[:MAX_REVERT_BYTES]


class RpcRefused(Permanent):
    """The node answered with an application error that is not a revert (`code`, `text`)."""

    label = "rpc_refused"

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"rpc error {code}: {text}")
        self.code = code
        self.text = text


class SigningRefused(Permanent):
    """A signer may not sign this transaction; the text says which limit of its forbids it."""

    label = "signing_refused"


class BadChainData(Permanent):
    """Something read from a chain does not have the shape its contract promises."""

    label = "bad_chain_data"


class IllegalTransition(Permanent):
    """A message cannot go from its present state to the one asked for."""

    label = "illegal_transition"


class UnknownRecord(Permanent):
    """Nothing is stored under that name."""

    label = "unknown_record"


class Fatal(RelayerError):
    """Going on would be unsafe or useless; a person must change something."""

    label = "fatal"


class ConfigInvalid(Fatal):
    """The configuration names something wrong; the text says field, value and way out."""

    label = "config_invalid"


class ChainMismatch(Fatal):
    """An endpoint serves another chain than the configuration says."""

    label = "chain_mismatch"


class SchemaMismatch(Fatal):
    """Redis holds a schema version this program does not read."""

    label = "schema_mismatch"


class StoreUnsafe(Fatal):
    """Redis is set up so that it may lose or evict state."""

    label = "store_unsafe"


class ReorgTooDeep(Fatal):
    """A final block was replaced deeper than the remembered block hashes."""

    label = "reorg_too_deep"
