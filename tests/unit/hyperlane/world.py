"""A small Hyperlane of fakes: two chains, a tree, validators that publish files, and ISMs.

Signatures and ABI answers are made with the `eth_account` and `eth_abi` libraries, not with the
code under test.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_abi.abi import encode as abi_encode
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from relayer.adapter import Step
from relayer.message import (
    Address,
    BlockHash,
    BlockNumber,
    BridgeName,
    LogRef,
    Message,
    MessageId,
    Payment,
    Reason,
    Record,
    Route,
    Status,
    Timestamp,
    TreeId,
    TxHash,
)
from relayer.protocols.hyperlane.adapter import SHAPE, HyperlaneAdapter, build
from relayer.protocols.hyperlane.message import HyperlaneMessage
from relayer.protocols.hyperlane.settings import HyperlaneSettings
from tests.fakes import FakeChain, FakeClock, FakeContext, FakeTrees, Reverts

BRIDGE = BridgeName("hyper")
ORIGIN_ID, DESTINATION_ID = 11, 22
ORIGIN_DOMAIN, DESTINATION_DOMAIN = 1000, 2000
MAILBOX = Address("0x" + "a1" * 20)
INBOX = Address("0x" + "a2" * 20)
HOOK = Address("0x" + "b1" * 20)
PAYMASTER = Address("0x" + "c1" * 20)
ANNOUNCE = Address("0x" + "d1" * 20)
ISM = Address("0x" + "e1" * 20)
RECIPIENT = Address("0x" + "f1" * 20)
SENDER = Address("0x" + "f2" * 20)
TREE = TreeId(f"hyper/{ORIGIN_ID}")


def selector(signature: str) -> bytes:
    return keccak(text=signature)[:4]


def padded(address: str) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])


def message_of(number: int, *, recipient: str = RECIPIENT, body: bytes = b"hi") -> HyperlaneMessage:
    """A message from the origin to the destination."""
    return HyperlaneMessage(
        nonce=number,
        origin=ORIGIN_DOMAIN,
        sender=padded(SENDER),
        destination=DESTINATION_DOMAIN,
        recipient=padded(recipient),
        body=body,
    )


def ref(*, chain: int = ORIGIN_ID, tx: int = 1, log_index: int = 0) -> LogRef:
    return LogRef(
        chain=FakeChain(chain).chain_id,
        block=BlockNumber(5),
        block_hash=BlockHash("0x" + "05" * 32),
        tx=TxHash(f"0x{tx:064x}"),
        log_index=log_index,
    )


def record_of(message: HyperlaneMessage, leaf_index: int | None, **changes: Any) -> Record:
    """A waiting record of a message."""
    origin, destination = FakeChain(ORIGIN_ID).chain_id, FakeChain(DESTINATION_ID).chain_id
    inner = Message(
        id=MessageId("0x" + keccak(message.encode()).hex()),
        route=Route(BRIDGE, origin, destination),
        sender="0x" + message.sender.hex(),
        recipient="0x" + message.recipient.hex(),
        nonce=message.nonce,
        body=message.body,
        payload=message.encode(),
        at=ref(),
        tree=TREE,
        leaf_index=leaf_index,
    )
    fields: dict[str, Any] = {
        "message": inner,
        "status": Status.WAITING,
        "reason": Reason.NEW,
        "detail": "",
        "since": Timestamp(0.0),
        "seen_at": Timestamp(1_700_000_000.0),
        "wake_at": None,
        "gate": None,
        "gate_value": None,
        "attempts": 0,
        "alone": False,
        "payment": Payment(),
        "timeline": (),
        "evidence": {},
        "tx": None,
    }
    return Record(**(fields | changes))


@dataclass
class Signer:
    """A validator that publishes in a directory; tests may publish anything in its name."""

    account: LocalAccount
    directory: Path

    @property
    def address(self) -> Address:
        return Address(self.account.address.lower())

    def latest(self, index: int | bytes) -> None:
        raw = index if isinstance(index, bytes) else str(index).encode()
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "index.json").write_bytes(raw)

    def raw(self, index: int, content: bytes) -> None:
        """Publish any bytes as the checkpoint of a leaf."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / f"{index}_with_id.json").write_bytes(content)

    def sign(self, index: int, root: bytes, message_id: bytes, **changes: Any) -> None:
        """Publish a signed checkpoint and the latest index; see `checkpoint_json`."""
        content = checkpoint_json(self.account, index, root, message_id, **changes)
        self.raw(index, json.dumps(content).encode())
        self.latest(index)


def checkpoint_json(
    account: LocalAccount,
    index: int,
    root: bytes,
    message_id: bytes,
    *,
    domain: int = ORIGIN_DOMAIN,
    hook: str = HOOK,
    v_shift: int = 0,
) -> dict[str, Any]:
    """The published form of a checkpoint, signed as hyperlane-core's `signing.rs` does."""
    scope = keccak(domain.to_bytes(4, "big") + padded(hook) + b"HYPERLANE")
    digest = keccak(scope + root + index.to_bytes(4, "big") + message_id)
    signed = account.sign_message(encode_defunct(digest))
    return {
        "value": {
            "checkpoint": {
                "merkle_tree_hook_address": "0x" + padded(hook).hex(),
                "mailbox_domain": domain,
                "root": "0x" + root.hex(),
                "index": index,
            },
            "message_id": "0x" + message_id.hex(),
        },
        "signature": {"r": hex(signed.r), "s": hex(signed.s), "v": signed.v - v_shift},
        "serialized_signature": "0x" + signed.signature.hex(),
    }


class World:
    """The adapter under test and everything around it."""

    def __init__(self, directory: Path, *, validators: int = 3, **settings: Any) -> None:
        self.origin, self.destination = FakeChain(ORIGIN_ID), FakeChain(DESTINATION_ID)
        self.trees = FakeTrees(SHAPE)
        self.clock = FakeClock()
        self.signers = [
            Signer(Account.from_key(bytes([number]) * 32), directory / f"validator-{number}")
            for number in range(1, validators + 1)
        ]
        self.locations = {s.address: [f"file://{s.directory}"] for s in self.signers}
        self.messages: list[HyperlaneMessage] = []
        self.delivered: set[bytes] = set()
        self.recipient_isms: dict[str, str] = {}
        """Recipient -> ISM; others have `ISM`."""
        self.set_up_contracts()
        self._settings = settings
        self.adapter = self.rebuilt()

    def rebuilt(self) -> HyperlaneAdapter:
        """An adapter as after a restart, in the same world."""
        context = FakeContext(
            {"origin": self.origin, "destination": self.destination}, self.trees, self.clock
        )
        adapter = build(BRIDGE, settings_of(**self._settings), context)
        assert isinstance(adapter, HyperlaneAdapter)
        return adapter

    @property
    def members(self) -> list[Address]:
        return [signer.address for signer in self.signers]

    def dispatch(self, count: int = 1, **changes: Any) -> list[Record]:
        """Put messages into the origin's tree; gives their records."""
        records = []
        for _ in range(count):
            index = len(self.messages)
            message = message_of(index, **changes)
            self.messages.append(message)
            self.trees.grow(TREE, [keccak(message.encode())])
            records.append(record_of(message, index))
        return records

    def leaf(self, index: int) -> bytes:
        return keccak(self.messages[index].encode())

    def root(self, index: int) -> bytes:
        return self.trees.root(TREE, index + 1)

    def all_sign(self, *indices: int, signers: Sequence[Signer] | None = None) -> None:
        """Let validators (all of them by default) sign the truth at these indices."""
        for index in indices:
            for signer in self.signers if signers is None else signers:
                signer.sign(index, self.root(index), self.leaf(index))

    async def step(self, record: Record) -> Step:
        """The next step of one message."""
        return (await self.adapter.next_steps([record]))[record.id]

    def multisig(self, address: str, threshold: int, *, by_root: bool = True) -> None:
        """An unweighted multisig ISM of all validators."""
        answer = abi_encode(["address[]", "uint8"], [self.members, threshold])
        self.ism(address, 4 if by_root else 5)
        self.destination.answer(address, selector("validatorsAndThreshold(bytes)"), answer)

    def weighted(
        self, address: str, weights: Sequence[int], threshold: int, *, by_root: bool = True
    ) -> None:
        """A weighted multisig ISM of all validators."""
        members = list(zip(self.members, weights, strict=True))
        answer = abi_encode(["(address,uint96)[]", "uint96"], [members, threshold])
        self.ism(address, 9 if by_root else 10)
        self.destination.answer(address, selector("validatorsAndThresholdWeight(bytes)"), answer)

    def aggregation(self, address: str, modules: Sequence[str], threshold: int) -> None:
        answer = abi_encode(["address[]", "uint8"], [list(modules), threshold])
        self.ism(address, 2)
        self.destination.answer(address, selector("modulesAndThreshold(bytes)"), answer)

    def routing(self, address: str, to: str) -> None:
        self.ism(address, 1)
        self.destination.answer(address, selector("route(bytes)"), padded(to))

    def null(self, address: str, *, paused: bool | None = None, relayer: str | None = None) -> None:
        self.ism(address, 6)
        if paused is not None:
            self.destination.answer(address, selector("paused()"), bytes(31) + bytes([paused]))
        if relayer is not None:
            self.destination.answer(address, selector("trustedRelayer()"), padded(relayer))

    def ism(self, address: str, kind: int) -> None:
        """An ISM that says its kind and nothing more."""
        self.destination.answer(address, selector("moduleType()"), kind.to_bytes(32, "big"))

    def set_up_contracts(self) -> None:
        """Let mailbox and announcements answer honestly (again)."""

        def is_delivered(arguments: bytes) -> bytes:
            return bytes(31) + bytes([arguments in self.delivered])

        def recipient_ism(arguments: bytes) -> bytes:
            recipient = "0x" + arguments[12:].hex()
            ism = self.recipient_isms.get(recipient, ISM)
            if ism == "revert":
                raise Reverts
            return padded(ism)

        def locations(arguments: bytes) -> bytes:
            words = [arguments[i : i + 32] for i in range(64, len(arguments), 32)]
            known = [self.locations.get(Address("0x" + word[12:].hex()), []) for word in words]
            return abi_encode(["string[][]"], [known])

        self.destination.answer(INBOX, selector("delivered(bytes32)"), is_delivered)
        self.destination.answer(INBOX, selector("recipientIsm(address)"), recipient_ism)
        announced = selector("getAnnouncedStorageLocations(address[])")
        self.origin.answer(ANNOUNCE, announced, locations)


def settings_of(**changes: Any) -> HyperlaneSettings:
    """Settings of the fake world; `changes` are fields."""
    section: dict[str, Any] = {
        "chains": {
            "origin": {
                "domain": ORIGIN_DOMAIN,
                "mailbox": MAILBOX,
                "merkle_tree_hook": HOOK,
                "validator_announce": ANNOUNCE,
                "igp": [PAYMASTER],
                "start_block": 3,
            },
            "destination": {
                "domain": DESTINATION_DOMAIN,
                "mailbox": INBOX,
                "merkle_tree_hook": "0x" + "b2" * 20,
                "validator_announce": "0x" + "d2" * 20,
            },
        },
        "routes": [["origin", "destination"]],
        "allow_local_storage": True,
    }
    return HyperlaneSettings.model_validate(section | changes)
