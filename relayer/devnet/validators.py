"""Hyperlane validators: sign a checkpoint for every leaf and publish it as local files.

Formats: `rust/main/hyperlane-core/src/{traits/signing,types/checkpoint}.rs`, local storage of
`rust/main/hyperlane-base` and `solidity/contracts/libs/CheckpointLib.sol` of
hyperlane-xyz/hyperlane-monorepo. A fault makes one lie in a chosen way.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from relayer.abi import address_word
from relayer.devnet.accounts import ANNOUNCER, Account
from relayer.devnet.artefacts import encode_call
from relayer.devnet.deployer import Deployer
from relayer.devnet.frontier import Frontier
from relayer.devnet.hyperlane import HyperlaneChain
from relayer.devnet.rpc import NodeRpc
from relayer.errors import BadChainData, RelayerError
from relayer.keccak import keccak256
from relayer.message import Address

INSERTED_INTO_TREE = "0x" + keccak256(b"InsertedIntoTree(bytes32,uint32)").hex()
BLOCKS_A_SCAN = 1_000
POLL_S = 0.2


class Fault(StrEnum):
    """How a validator misbehaves."""

    GARBAGE = "garbage"
    """Its files are not JSON."""
    WRONG_ROOT = "wrong_root"
    """It signs a root that the chain never had."""
    WRONG_SIGNATURE = "wrong_signature"
    """It publishes the truth under somebody else's signature."""
    SILENT = "silent"
    """It announces itself and publishes nothing."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is signed: the tree's root once `message_id` was its leaf `index`."""

    domain: int
    hook: Address
    root: bytes
    index: int
    message_id: bytes

    def digest(self) -> bytes:
        """What a validator signs by `personal_sign`."""
        scope = keccak256(_word(self.domain, 4) + address_word(self.hook) + b"HYPERLANE")
        return keccak256(scope + self.root + _word(self.index, 4) + self.message_id)


class Validator:
    """One key's storage for one origin chain, in the layout of Hyperlane's local storage."""

    def __init__(self, account: Account, directory: Path, *, fault: Fault | None = None) -> None:
        self.account = account
        self.directory = directory
        self.fault = fault

    @property
    def location(self) -> str:
        """What is announced on chain."""
        return f"file://{self.directory.resolve()}"

    def announcement(self, chain: HyperlaneChain) -> tuple[dict[str, Any], bytes]:
        """The announcement's JSON and its signature."""
        mailbox = address_word(chain.mailbox)
        scope = keccak256(_word(chain.domain, 4) + mailbox + b"HYPERLANE_ANNOUNCEMENT")
        signature = self.account.sign_personal(keccak256(scope + self.location.encode()))
        value = {
            "validator": self.account.address,
            "mailbox_address": "0x" + mailbox.hex(),
            "mailbox_domain": chain.domain,
            "storage_location": self.location,
        }
        return _signed(value, signature), signature

    def publish(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Write a file for each checkpoint, then the index of the last."""
        if self.fault is Fault.SILENT or not checkpoints:
            return
        for checkpoint in checkpoints:
            content = self.checkpoint_file(checkpoint)
            write_atomically(self.directory / f"{checkpoint.index}_with_id.json", content)
        write_atomically(self.directory / "index.json", str(checkpoints[-1].index).encode())

    def checkpoint_file(self, checkpoint: Checkpoint) -> bytes:
        """The bytes of a checkpoint's file, faulty as configured."""
        if self.fault is Fault.GARBAGE:
            return b'\x00\xff{"value": not json' * 3
        root, account = checkpoint.root, self.account
        if self.fault is Fault.WRONG_ROOT:
            root = keccak256(root)
        if self.fault is Fault.WRONG_SIGNATURE:
            account = Account.of(keccak256(account.secret))
        signed = Checkpoint(
            checkpoint.domain, checkpoint.hook, root, checkpoint.index, checkpoint.message_id
        )
        value = {
            "checkpoint": {
                "merkle_tree_hook_address": "0x" + address_word(signed.hook).hex(),
                "mailbox_domain": signed.domain,
                "root": "0x" + signed.root.hex(),
                "index": signed.index,
            },
            "message_id": "0x" + signed.message_id.hex(),
        }
        return json.dumps(_signed(value, account.sign_personal(signed.digest()))).encode()


class ValidatorSet:
    """All validators of one origin: one scan of its hook serves them all."""

    def __init__(
        self,
        rpc: NodeRpc,
        chain: HyperlaneChain,
        validators: Sequence[Validator],
        *,
        confirmations: int = 0,
    ) -> None:
        self._rpc = rpc
        self.chain = chain
        self.validators = tuple(validators)
        self._confirmations = confirmations
        self._tree = Frontier()
        self._next_block = chain.start_block
        self._last_hash: str | None = None
        self.checkpoints: list[Checkpoint] = []
        """Every checkpoint signed so far, by index."""

    async def announce(self) -> None:
        """Publish every validator's location, in its directory and on chain."""
        deployer = await Deployer.open(self._rpc, ANNOUNCER)
        for validator in self.validators:
            content, signature = validator.announcement(self.chain)
            write_atomically(
                validator.directory / "announcement.json", json.dumps(content).encode()
            )
            arguments = [validator.account.address, validator.location, signature]
            announce = encode_call("announce(address,string,bytes)", arguments)
            deployer.call(self.chain.validator_announce, announce)
        await deployer.flush()

    async def run(self) -> None:
        """Sign what comes until cancelled; a node that is away is asked again."""
        while True:
            try:
                await self.tick()
            except RelayerError:
                await asyncio.sleep(5 * POLL_S)
            await asyncio.sleep(POLL_S)

    async def tick(self) -> int:
        """Sign and publish the leaves that were added since the last tick; say how many.

        After a reorganisation of blocks it has read it starts over and signs the new history.
        """
        head = int(await self._rpc.call("eth_blockNumber"), 16) - self._confirmations
        if head + 1 != self._next_block and await self._was_replaced():
            self._start_over()
        signed = 0
        while self._next_block <= head:
            last = min(head, self._next_block + BLOCKS_A_SCAN - 1)
            last_hash = await self._block_hash(last)  # first: a swap in between shows next time
            fresh = [self._grow(*leaf) for leaf in await self._leaves(self._next_block, last)]
            self._next_block, self._last_hash = last + 1, last_hash
            self.checkpoints += fresh
            signed += len(fresh)
            if fresh:
                await asyncio.to_thread(self._publish, fresh)
        return signed

    def _start_over(self) -> None:
        self._tree = Frontier()
        self._next_block, self._last_hash = self.chain.start_block, None
        self.checkpoints = []

    async def _was_replaced(self) -> bool:
        last_hash = self._last_hash
        return last_hash is not None and last_hash != await self._block_hash(self._next_block - 1)

    async def _block_hash(self, number: int) -> str | None:
        block = await self._rpc.call("eth_getBlockByNumber", hex(number), False)
        return None if block is None else str(block["hash"])

    async def _leaves(self, first: int, last: int) -> list[tuple[bytes, int]]:
        query = {
            "address": self.chain.merkle_tree_hook,
            "topics": [INSERTED_INTO_TREE],
            "fromBlock": hex(first),
            "toBlock": hex(last),
        }
        words = [
            bytes.fromhex(log["data"][2:]) for log in await self._rpc.call("eth_getLogs", query)
        ]
        return [(word[:32], int.from_bytes(word[32:64], "big")) for word in words]

    def _grow(self, message_id: bytes, index: int) -> Checkpoint:
        if index != self._tree.size:
            raise BadChainData(f"leaf {index} came where {self._tree.size} was due")
        self._tree.append(message_id)
        hook, root = self.chain.merkle_tree_hook, self._tree.root()
        return Checkpoint(self.chain.domain, hook, root, index, message_id)

    def _publish(self, checkpoints: Sequence[Checkpoint]) -> None:
        for validator in self.validators:
            validator.publish(checkpoints)


def write_atomically(file: Path, content: bytes) -> None:
    """Replace a file in one step, so that no reader sees half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.draft")
    draft.write_bytes(content)
    os.replace(draft, file)


def _signed(value: dict[str, Any], signature: bytes) -> dict[str, Any]:
    """A value with its signature, in both of the forms Hyperlane writes."""
    r, s = (int.from_bytes(part, "big") for part in (signature[:32], signature[32:64]))
    return {
        "value": value,
        "signature": {"r": hex(r), "s": hex(s), "v": signature[64]},
        "serialized_signature": "0x" + signature.hex(),
    }


def _word(number: int, size: int) -> bytes:
    return number.to_bytes(size, "big")
