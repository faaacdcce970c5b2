"""Verifies what a node says of an account or a storage slot at a known state root. Pure.

Merkle-Patricia proofs as `eth_getProof` gives them: the nodes on the way from the root to the key.
A node of fewer than 32 bytes stands inside its parent; clients list it again or leave it out, and
both forms are taken here. Sources: yellow paper, appendix D; EIP-1186; `trie/proof.go` of
go-ethereum. Whatever is handed in, the answer is a proved fact or `BadChainData`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relayer.errors import BadChainData
from relayer.keccak import keccak256

EMPTY_ROOT = keccak256(b"\x80")
"""The root of a trie without keys."""
EMPTY_CODE = keccak256(b"")
MAX_NODES = 65
"""A key has 64 nibbles and every node below the root takes at least one."""
MAX_NODE_BYTES = 1024
"""A full branch has 532 bytes, a leaf with an account about 150."""
BRANCH, SHORT = 17, 2
"""Items of a branch, and of an extension or a leaf."""


@dataclass(frozen=True, slots=True)
class Proved:
    """What the trie of a root holds under one key."""

    value: bytes | None
    """As the leaf has it (RLP of the thing kept); None: it is proved that there is nothing."""
    nodes: tuple[bytes, ...]
    """Every node on the way on its own, those that stand inside their parents too."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the state trie keeps it."""

    nonce: int
    balance: int
    storage_root: bytes
    code_hash: bytes


def prove_account(state_root: bytes, address: bytes, nodes: Sequence[bytes]) -> Account:
    """The account of 20 bytes at a state root; one that is proved absent is an empty account."""
    if len(address) != 20:
        raise BadChainData("an account proof needs an address of 20 bytes")
    value = walk(state_root, keccak256(address), nodes).value
    if value is None:
        return Account(0, 0, EMPTY_ROOT, EMPTY_CODE)
    items = _strings(value)
    if len(items) != 4 or len(items[2]) != 32 or len(items[3]) != 32:
        raise BadChainData("a proved account is not (nonce, balance, storage root, code hash)")
    return Account(_number(items[0]), _number(items[1]), items[2], items[3])


def prove_slot(storage_root: bytes, slot: bytes, nodes: Sequence[bytes]) -> tuple[int, Proved]:
    """The value of a storage slot (0 when it is proved empty) and the way to it."""
    if len(slot) != 32:
        raise BadChainData("a storage proof needs a slot of 32 bytes")
    proved = walk(storage_root, keccak256(slot), nodes)
    if proved.value is None:
        return 0, proved
    content, rest, is_list = _split(proved.value)
    if is_list or rest or not content:
        raise BadChainData("a proved slot holds no number")
    return _number(content), proved


def walk(root: bytes, key: bytes, nodes: Sequence[bytes]) -> Proved:
    """Follow a hashed key of 32 bytes down from the root; every given node must be on the way."""
    if len(root) != 32 or len(key) != 32:
        raise BadChainData("a proof needs a root and a key of 32 bytes")
    if len(nodes) > MAX_NODES or any(len(node) > MAX_NODE_BYTES for node in nodes):
        raise BadChainData("a proof is larger than any trie's")
    if root == EMPTY_ROOT and list(nodes) in ([], [b"\x80"]):
        return Proved(None, ())
    return _Walk(key, nodes).down(root)


class _Walk:
    """One key's way down: `_next` counts the given nodes, `_depth` the nibbles used up."""

    def __init__(self, key: bytes, nodes: Sequence[bytes]) -> None:
        self._path = key.hex()
        self._nodes = nodes
        self._next = 0
        self._depth = 0
        self._way: list[bytes] = []

    def down(self, root: bytes) -> Proved:
        """Node by node; a hash is looked up among the given nodes, an inlined node is at hand."""
        node = self._given(root)
        while True:
            self._way.append(node)
            items = _items(node)
            found = self._branch(items) if len(items) == BRANCH else self._short(items)
            if isinstance(found, Proved):
                return found
            node = found

    def _branch(self, items: Sequence[bytes]) -> bytes | Proved:
        if self._depth == len(self._path):
            # keys are hashes, all of one length, so no branch has a value of its own
            raise BadChainData("a branch of a proof lies below its key")
        child = items[int(self._path[self._depth], 16)]
        self._depth += 1
        return self._ended(None) if child == b"\x80" else self._child(child)

    def _short(self, items: Sequence[bytes]) -> bytes | Proved:
        """An extension leads on, a leaf ends the way; one that leads elsewhere proves absence."""
        if len(items) != SHORT:
            raise BadChainData("a node of a proof is neither branch nor leaf nor extension")
        nibbles, is_leaf = _compact(_string(items[0]))
        rest = self._path[self._depth :]
        if is_leaf:
            return self._ended(_string(items[1]) if nibbles == rest else None)
        if not nibbles:
            raise BadChainData("an extension of a proof has no path")
        if not rest.startswith(nibbles):
            return self._ended(None)
        self._depth += len(nibbles)
        return self._child(items[1])

    def _child(self, reference: bytes) -> bytes:
        """The node that a reference stands for: its hash, or itself when it is short."""
        if reference[0] >= 0xC0:
            if len(reference) >= 32:
                raise BadChainData("a node of 32 bytes or more stands inside its parent")
            if self._next < len(self._nodes) and self._nodes[self._next] == reference:
                self._next += 1
            return reference
        digest = _string(reference)
        if len(digest) != 32:
            raise BadChainData("a node of a proof refers to no hash")
        return self._given(digest)

    def _given(self, digest: bytes) -> bytes:
        if self._next >= len(self._nodes):
            raise BadChainData("a proof ends before its key does")
        node = self._nodes[self._next]
        self._next += 1
        if keccak256(node) != digest:
            raise BadChainData(
                f"node {self._next - 1} of a proof does not hash to what leads to it"
            )
        if len(self._way) and len(node) < 32:
            raise BadChainData("a node of fewer than 32 bytes is referred to by its hash")
        return node

    def _ended(self, value: bytes | None) -> Proved:
        if self._next != len(self._nodes):
            raise BadChainData("a proof has nodes that are not on the way to its key")
        if value == b"":
            raise BadChainData("a leaf of a proof holds nothing")
        return Proved(value, tuple(self._way))


# --- RLP, as much of it as nodes need: strict, and one level at a time -----------------------


def _items(node: bytes) -> list[bytes]:
    """The items of a list, each still encoded."""
    content, rest, is_list = _split(node)
    if not is_list or rest:
        raise BadChainData("a node of a proof is not one RLP list")
    items = []
    while content:
        _, after, _ = _split(content)
        items.append(content[: len(content) - len(after)])
        content = after
        if len(items) > BRANCH:
            raise BadChainData("a node of a proof has more than 17 items")
    return items


def _strings(encoded: bytes) -> list[bytes]:
    return [_string(item) for item in _items(encoded)]


def _string(item: bytes) -> bytes:
    content, rest, is_list = _split(item)
    if is_list or rest:
        raise BadChainData("an item of a proof is not a string")
    return content


def _split(encoded: bytes) -> tuple[bytes, bytes, bool]:
    """(content of the first item, what follows it, is it a list); one form only per content."""
    if not encoded:
        raise BadChainData("an item of a proof is missing")
    head = encoded[0]
    if head < 0x80:
        return encoded[:1], encoded[1:], False
    is_list = head >= 0xC0
    size, start = head - (0xC0 if is_list else 0x80), 1
    if size > 55:
        start += size - 55
        size = int.from_bytes(encoded[1:start], "big")
        if len(encoded) < start or encoded[1] == 0 or size <= 55:
            raise BadChainData("an item of a proof has a length in no canonical form")
    content = encoded[start : start + size]
    if len(content) != size or (not is_list and size == 1 and content[0] < 0x80):
        raise BadChainData("an item of a proof is cut off or in no canonical form")
    return content, encoded[start + size :], is_list


def _compact(path: bytes) -> tuple[str, bool]:
    """(nibbles, is it a leaf's) of a hex-prefix encoded path (yellow paper, appendix C)."""
    text = path.hex()
    if not text or text[0] not in "0123":
        raise BadChainData("a path of a proof has no known form")
    flags = int(text[0])
    if flags % 2 == 0 and text[1] != "0":
        raise BadChainData("a path of a proof is padded with something")
    return text[1 if flags % 2 else 2 :], flags >= 2


def _number(raw: bytes) -> int:
    if len(raw) > 32 or raw[:1] == b"\x00":
        raise BadChainData("a number of a proof is in no canonical form")
    return int.from_bytes(raw, "big")
