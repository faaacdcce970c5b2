"""A key behind a server that speaks `eth_signTransaction`, such as Consensys Web3Signer.

Method: ethereum.org/developers/docs/apis/json-rpc, `eth_signTransaction`. What comes back is
hostile until every field of it is found to be what was asked, signed by the key it should be.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import rlp

from relayer.chains.signers.exchange import KeeperClient, Reply
from relayer.chains.signers.recovery import with_parity
from relayer.chains.transactions import (
    Envelope,
    SignedTransaction,
    signed_bytes,
    signing_payload,
)
from relayer.chains.wire import hex_text, octets
from relayer.errors import BadChainData, SignerUnavailable, SigningRefused
from relayer.keccak import keccak256
from relayer.message import Address, TxHash
from relayer.settings import Web3SignerSettings

SIGNATURE_BYTES = 128
"""More than v, r and s and the longer list heads they make."""
ENVELOPE_BYTES = 4096
"""Of JSON around the transaction."""
ACCOUNTS_BYTES = 1024 * 1024
"""About 20 000 accounts."""
NO_SUCH_METHOD = -32601
EIP155_OFFSET = 35
FIELDS = {
    0: ("nonce", "gasPrice", "gas", "to", "value", "data"),
    1: ("chainId", "nonce", "gasPrice", "gas", "to", "value", "data", "accessList"),
    2: (
        "chainId",
        "nonce",
        "maxPriorityFeePerGas",
        "maxFeePerGas",
        "gas",
        "to",
        "value",
        "data",
        "accessList",
    ),
}
"""What comes before the signature, by transaction type (EIP-155, EIP-2930, EIP-1559)."""


class Web3Signer:
    """Has a server sign for one of its accounts."""

    def __init__(self, settings: Web3SignerSettings, address: Address, *, timeout_s: float) -> None:
        self.address = address
        url = settings.url.get_secret_value()
        self._client = KeeperClient(f"web3signer {address}", url, timeout_s=timeout_s)
        self._ids = itertools.count(1)

    @classmethod
    async def open(
        cls, settings: Web3SignerSettings, address: Address, *, timeout_s: float
    ) -> Web3Signer:
        """Make sure that the server is there and has the account, if it tells its accounts."""
        signer = cls(settings, address, timeout_s=timeout_s)
        try:
            await signer._check_account()
        except BaseException:
            await signer.aclose()
            raise
        return signer

    def __repr__(self) -> str:
        return f"Web3Signer({self.address})"

    async def sign(self, tx: Envelope) -> SignedTransaction:
        """Ask for the signature and believe nothing of the answer but the signature in it."""
        most_bytes = 2 * (len(signing_payload(tx)) + SIGNATURE_BYTES) + ENVELOPE_BYTES
        answer = await self._call(
            "eth_signTransaction", [_request(tx, self.address)], most_bytes=most_bytes
        )
        # some servers answer as eth_sendTransaction's documentation has it: {raw, tx}
        text = answer.get("raw") if isinstance(answer, dict) else answer
        try:
            raw = octets(text, "the signed transaction")
            return checked(raw, tx, signer=self.address)
        except BadChainData as bad:
            raise self._client.trouble(f"answered {bad}") from None
        except ValueError as bad:
            if _lacks_access_list(raw, tx, signer=self.address):
                refusal = (
                    f"{self._client.name} leaves access lists out, and this call needs its own"
                )
                raise SigningRefused(refusal) from None
            raise self._client.trouble(f"answered {bad}") from None

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _check_account(self) -> None:
        answer = await self._call("eth_accounts", [], most_bytes=ACCOUNTS_BYTES, optional=True)
        if answer is None:
            return
        try:
            listed = [hex_text(one, "an account", size=20) for one in _list(answer)]
        except BadChainData as bad:
            raise self._client.trouble(f"eth_accounts: {bad}") from None
        if self.address not in listed:
            text = f"has no such account among its {len(listed)}"
            raise self._client.trouble(text, lasting=True)

    async def _call(
        self, method: str, params: Sequence[Any], *, most_bytes: int, optional: bool = False
    ) -> Any:
        """The result of one JSON-RPC request, None for an `optional` method it does not have."""
        number = next(self._ids)
        wanted = {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}
        reply = await self._client.ask("POST", body=wanted, most_bytes=most_bytes)
        error = reply.body.get("error")
        if error is not None:
            if optional and isinstance(error, dict) and error.get("code") == NO_SUCH_METHOD:
                return None
            raise self._refused(error)
        if reply.status != HTTPStatus.OK or reply.body.get("id") != number:
            raise self._no_answer(reply)
        return reply.body.get("result")

    def _refused(self, error: object) -> SignerUnavailable:
        text = str(error.get("message", "")) if isinstance(error, dict) else str(error)
        return self._client.trouble(f"refused: {text}")

    def _no_answer(self, reply: Reply) -> SignerUnavailable:
        lasting = reply.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
        text = f"answered HTTP status {reply.status} and nothing to our request"
        return self._client.trouble(text, lasting=lasting)


def checked(raw: bytes, tx: Envelope, *, signer: Address) -> SignedTransaction:
    """The transaction in `raw` if it is `tx` signed by `signer`; ValueError names what differs.

    It is put together again from what was asked and the signature alone, so that nothing else of
    the answer is ever sent.
    """
    v, r, s = _signature_in(raw, tx)
    kind = _kind(tx)
    parity = v if kind else v - (EIP155_OFFSET + 2 * tx.chain_id)
    if parity not in (0, 1):
        raise ValueError("a transaction for another chainId" if not kind else "no parity")
    digest = keccak256(signing_payload(tx))
    if with_parity(digest, r, s, signer=signer) != (parity, s):
        raise ValueError("a signature in a form that chains refuse")
    rebuilt = signed_bytes(tx, parity=parity, r=r, s=s)
    if rebuilt != raw:
        raise ValueError("a transaction in another encoding")
    return SignedTransaction(raw=rebuilt, hash=TxHash("0x" + keccak256(rebuilt).hex()))


def _lacks_access_list(raw: bytes, tx: Envelope, *, signer: Address) -> bool:
    """Whether it is `tx` but for the access list, which Web3Signer ignores: that is the call's
    trouble, and no reason to leave the key alone."""
    if not tx.access_list:
        return False
    try:
        checked(raw, replace(tx, access_list=()), signer=signer)
    except ValueError:
        return False
    return True


def _signature_in(raw: bytes, tx: Envelope) -> tuple[int, int, int]:
    """v, r and s, once every field before them is as asked."""
    kind = _kind(tx)
    if kind and raw[:1] != bytes([kind]):
        raise ValueError(f"a transaction that is not of type {kind}")
    asked = rlp.decode(signing_payload(tx)[1 if kind else 0 :])
    try:
        given = rlp.decode(raw[1 if kind else 0 :])
    except (rlp.exceptions.DecodingError, RecursionError):
        raise ValueError("no transaction") from None
    names = FIELDS[kind]
    if not isinstance(given, list) or len(given) != len(names) + 3:
        raise ValueError(f"a transaction that is not of type {kind}")
    for name, wanted, found in zip(names, asked, given, strict=False):
        if found != wanted:
            raise ValueError(f"a transaction with another {name}")
    if not all(isinstance(part, bytes) and len(part) <= 32 for part in given[-3:]):
        raise ValueError("a transaction without a signature")
    v, r, s = (int.from_bytes(part, "big") for part in given[-3:])
    return v, r, s


def _kind(tx: Envelope) -> int:
    if tx.fees.gas_price is None:
        return 2
    return 1 if tx.access_list else 0


def _request(tx: Envelope, sender: Address) -> dict[str, Any]:
    """The JSON-RPC form of the envelope (execution-apis, `GenericTransaction`)."""
    request: dict[str, Any] = {
        "from": sender,
        "to": tx.to,
        "gas": hex(tx.gas),
        "nonce": hex(tx.nonce),
        "value": hex(tx.value),
        "data": "0x" + tx.data.hex(),
        "chainId": hex(tx.chain_id),
    }
    if tx.fees.gas_price is None:
        request["maxFeePerGas"] = hex(tx.fees.max_fee)
        request["maxPriorityFeePerGas"] = hex(tx.fees.tip)
    else:
        request["gasPrice"] = hex(tx.fees.gas_price)
    if tx.access_list:
        request["accessList"] = [
            {"address": address, "storageKeys": ["0x" + key.hex() for key in keys]}
            for address, keys in tx.access_list
        ]
    return request


def _list(answer: object) -> list[Any]:
    if not isinstance(answer, list):
        raise BadChainData("no list")
    return answer
