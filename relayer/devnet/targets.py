"""Contracts that messages of tests and of the demo are sent to, each with its own temper.

A target says in one log what it was called with. Messages carry plain bytes, no selector.
"""

from __future__ import annotations

from collections.abc import Iterable

from eth_abi.abi import decode

from relayer.devnet.artefacts import Artefact
from relayer.devnet.ledger import logs_of
from relayer.devnet.rpc import NodeRpc
from relayer.devnet.solidity import compile_contracts
from relayer.keccak import keccak256
from relayer.message import Address

RECEIVED = "0x" + keccak256(b"Received(bytes)").hex()
_UNIT = "targets/Targets.sol"
_SOURCE = """
// SPDX-License-Identifier: MIT
pragma solidity =0.8.24;

interface IMessenger { function xDomainMessageSender() external view returns (address); }

contract Target {
    event Received(bytes body);

    fallback() external payable virtual { emit Received(msg.data); }
}

/// Reverts until somebody calls it without data.
contract Switched is Target {
    bool private on;

    fallback() external payable override {
        if (msg.data.length == 0) { on = true; return; }
        require(on, "not yet");
        emit Received(msg.data);
    }
}

/// Reverts, as long as it is off, with what OP's interop messenger says of messages it has relayed.
contract Lying is Target {
    error MessageAlreadyRelayed();
    bool private on;

    fallback() external payable override {
        if (msg.data.length == 0) { on = true; return; }
        if (!on) revert MessageAlreadyRelayed();
        emit Received(msg.data);
    }
}

/// Takes messages in simulations and refuses them on chain.
contract TwoFaced is Target {
    fallback() external payable override {
        require(tx.gasprice == 0, "not on chain");
        emit Received(msg.data);
    }
}

/// Writes twenty new slots, about 450,000 gas.
contract Hungry is Target {
    uint256 private count;
    mapping(uint256 => uint256) private slots;

    fallback() external payable override {
        for (uint256 i = 0; i < 20; ++i) { slots[++count] = 1; }
        emit Received(msg.data);
    }
}

/// Takes messages of one sender, as token gateways do; the sender is the body's last 20 bytes.
contract Guarded is Target {
    fallback() external payable override {
        address sender = IMessenger(msg.sender).xDomainMessageSender();
        require(sender == address(bytes20(msg.data[msg.data.length - 20:])), "wrong sender");
        emit Received(msg.data);
    }
}
"""


async def compile_targets(names: Iterable[str]) -> dict[str, Artefact]:
    """Compile those targets by the names of their contracts."""
    return await compile_contracts({_UNIT: _SOURCE}, [(_UNIT, name) for name in names])


async def received_bodies(rpc: NodeRpc, targets: Iterable[Address]) -> set[bytes]:
    """What the targets of one chain say they were called with."""
    bodies: set[bytes] = set()
    for target in targets:
        for log in await logs_of(rpc, RECEIVED, str(target)):
            bodies.add(decode(["bytes"], bytes.fromhex(log["data"][2:]))[0])
    return bodies
