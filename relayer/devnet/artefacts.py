"""Reads bytecode and ABI of the real contracts out of the npm packages that publish them.

Four kinds of packages: JavaScript literals in typechain factories, JSON of hardhat and of foundry,
and Solidity sources (see `solidity.py`). Multicall3 is a constant of viem. Nothing of those
packages is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.grammar import TupleType, parse

from relayer.abi import selector
from relayer.errors import ConfigInvalid

FACTORIES = Path("@hyperlane-xyz/core/dist/typechain/factories/contracts")
VIEM_CONSTANTS = Path("viem/_esm/constants/contracts.js")
_BYTECODE = re.compile(r'const _bytecode = "(0x[0-9a-f]+)";')
_ABI = re.compile(r"const _abi = (\[.*?\n\]);", re.DOTALL)
_BARE_KEY = re.compile(r"^(\s*)(\w+):", re.MULTILINE)
_LAST_COMMA = re.compile(r",(\s*[\]}])")
_MULTICALL = re.compile(r"multicall3Bytecode = '(0x[0-9a-f]+)'")


@dataclass(frozen=True, slots=True)
class Artefact:
    """One compiled contract."""

    name: str
    bytecode: bytes
    """Creation code without constructor arguments."""
    abi: tuple[dict[str, Any], ...]

    def creation(self, *arguments: Any) -> bytes:
        """Creation code with its constructor's arguments."""
        inputs = [entry["inputs"] for entry in self.abi if entry["type"] == "constructor"]
        types = [abi_type(entry) for entry in inputs[0]] if inputs else []
        return self.bytecode + encode(types, arguments)


def node_modules() -> list[Path]:
    """Where npm may have put packages: the working directory, then the source tree."""
    places = (Path.cwd(), Path(__file__).parents[2])
    return [place / "node_modules" for place in dict.fromkeys(places)]


def load(path: str) -> Artefact:
    """Read a contract by its path below Hyperlane's factories, such as `hooks/MerkleTreeHook`."""
    return load_factory(FACTORIES / f"{path}__factory.js")


@lru_cache(maxsize=64)
def load_factory(path: Path) -> Artefact:
    """Read a typechain factory, by its path below `node_modules`."""
    source = read_package_file(path)
    bytecode, abi = _BYTECODE.search(source), _ABI.search(source)
    if bytecode is None or abi is None:
        raise ConfigInvalid(f"no bytecode and ABI in {path}: not the pinned package version?")
    literal = _LAST_COMMA.sub(r"\1", _BARE_KEY.sub(r'\1"\2":', abi[1]))
    name = path.name.removesuffix("__factory.js")
    return Artefact(name, bytes.fromhex(bytecode[1][2:]), tuple(json.loads(literal)))


@lru_cache(maxsize=64)
def load_json(path: Path) -> Artefact:
    """Read a hardhat artefact, by its path below `node_modules`."""
    found = json.loads(read_package_file(path))
    code = bytes.fromhex(found["bytecode"][2:])
    return Artefact(str(found["contractName"]), code, tuple(found["abi"]))


@lru_cache(maxsize=64)
def load_forge(path: Path) -> Artefact:
    """Read a foundry artefact, by its path below `node_modules`."""
    found = json.loads(read_package_file(path))
    return Artefact(path.stem, bytes.fromhex(found["bytecode"]["object"][2:]), tuple(found["abi"]))


def multicall3_creation() -> bytes:
    """Creation code of Multicall3; it takes no arguments and returns the code to install."""
    found = _MULTICALL.search(read_package_file(VIEM_CONSTANTS))
    if found is None:
        raise ConfigInvalid(f"no Multicall3 in {VIEM_CONSTANTS}: not the pinned package version?")
    return bytes.fromhex(found[1][2:])


def abi_type(entry: dict[str, Any]) -> str:
    """The type of an ABI input, with tuples written out."""
    kind = str(entry["type"])
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(abi_type(part) for part in entry['components'])}){kind[5:]}"


def encode_call(signature: str, arguments: Sequence[Any] = ()) -> bytes:
    """Call data for a signature such as `deploy(address[],uint8)`."""
    return selector(signature) + encode(_argument_types(signature), arguments)


def decode_result(types: Sequence[str], answer: bytes) -> tuple[Any, ...]:
    """Decode what a view returned."""
    return tuple(decode(types, answer))


@lru_cache(maxsize=256)
def _argument_types(signature: str) -> list[str]:
    written = signature[signature.index("(") :]
    if written == "()":
        return []
    arguments = parse(written)
    if not isinstance(arguments, TupleType):
        raise ConfigInvalid(f"not a function signature: {signature}")
    return [part.to_type_str() for part in arguments.components]


def read_package_file(path: Path) -> str:
    """The text of a file below `node_modules`; `ConfigInvalid` when nobody installed it."""
    for root in node_modules():
        file = root / path
        if file.is_file():
            return file.read_text(encoding="utf-8")
    raise ConfigInvalid(f"no {path} in node_modules: run `npm ci` (or `make setup`) first")
