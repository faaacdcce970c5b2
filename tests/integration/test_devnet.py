"""The local world is real: its contracts take what the documents say and refuse the rest."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import coincurve
import pytest

from relayer.devnet.accounts import ACCOUNTS, DEPLOYER, RELAYERS, VALIDATORS
from relayer.devnet.anvil import Anvil, AnvilOptions
from relayer.devnet.artefacts import decode_result, encode_call
from relayer.devnet.deployer import Deployer
from relayer.devnet.frontier import DEPTH, ZEROS, Frontier
from relayer.devnet.ground import Sent
from relayer.devnet.multicall import MULTICALL3, eth_call, install_multicall3
from relayer.devnet.recipients import (
    GAS_BURNER,
    MEGABYTE,
    RETURN_BOMB,
    REVERT_BOMB,
    REVERTING,
    SWITCHED,
    Recipient,
)
from relayer.devnet.traffic import Site
from relayer.devnet.validators import Fault, ValidatorSet
from relayer.devnet.world import Devnet, WorldPlan
from relayer.errors import CallReverted, RpcRefused
from relayer.keccak import keccak256
from relayer.settings import load_settings
from tests.fault.conftest import until
from tests.integration.conftest import MakeWorld

pytestmark = pytest.mark.chain

HANDLE = "handle(uint32,bytes32,bytes)"


async def test_accounts_are_the_nodes_own(node: Anvil) -> None:
    """Our key table holds the keys of the accounts that anvil funds and unlocks."""
    listed = await node.rpc.call("eth_accounts")
    assert [address.lower() for address in listed] == [account.address for account in ACCOUNTS]


async def test_chains_differ_and_settings_load(still_world: Devnet) -> None:
    """The world's configuration is valid, and no two chains share an address or a domain."""
    settings = load_settings(still_world.config_path, {})
    sections = settings.bridges["hyperlane"]["chains"].values()
    assert sorted(settings.chains) == ["alpha", "beta", "gamma"]
    assert len({section["mailbox"] for section in sections}) == 3
    assert {section["domain"] for section in sections}.isdisjoint(
        chain.id for chain in settings.chains.values()
    )
    for site in still_world.sites.values():
        assert await eth_call(site.rpc, MULTICALL3, encode_call("getChainId()")) == (
            site.chain_id.to_bytes(32, "big")
        )


async def test_traffic_covers_all_routes(still_world: Devnet) -> None:
    """Messages go over every route in the order asked for, paid, and are leaves of the hook."""
    traffic = still_world.traffic
    sent = await traffic.spread(12)
    assert len({one.id for one in sent}) == 12
    assert len({(one.origin, one.destination) for one in sent}) == 6
    assert all(one.body.decode().endswith(f"{one.origin} > {one.destination}") for one in sent)
    assert await traffic.undelivered(sent) == sent
    for site in still_world.sites.values():
        count = await eth_call(site.rpc, site.hyperlane.merkle_tree_hook, encode_call("count()"))
        assert int.from_bytes(count, "big") == 4
        paid = int(await site.rpc.call("eth_getBalance", site.hyperlane.igp, "latest"), 16)
        assert paid > 0


async def test_validators_sign_the_contracts_root(still_world: Devnet) -> None:
    """Each leaf gets a file by each validator, signed by its key over the hook's own root."""
    sent = [one for one in await still_world.traffic.spread(12) if one.origin == "alpha"]
    validators = still_world.validators["alpha"]
    assert await validators.tick() == len(sent) == 4
    assert await validators.tick() == 0
    site = still_world.sites["alpha"]
    answer = await eth_call(
        site.rpc, site.hyperlane.merkle_tree_hook, encode_call("latestCheckpoint()")
    )
    root, index = decode_result(["bytes32", "uint32"], answer)
    last = validators.checkpoints[-1]
    assert (last.root, last.index) == (root, index)
    for validator in validators.validators:
        assert (validator.directory / "index.json").read_text() == "3"
        for checkpoint in validators.checkpoints:
            file = validator.directory / f"{checkpoint.index}_with_id.json"
            content = json.loads(file.read_text())
            assert content["value"]["checkpoint"]["root"] == f"0x{checkpoint.root.hex()}"
            assert content["value"]["message_id"] == f"0x{checkpoint.message_id.hex()}"
            assert _signer(content, checkpoint.digest()) == validator.account.address


async def test_announced_locations_are_on_chain(still_world: Devnet) -> None:
    """ValidatorAnnounce took every validator's signature and gives its directory back."""
    for name, validators in still_world.validators.items():
        site = still_world.sites[name]
        view = encode_call(
            "getAnnouncedStorageLocations(address[])", [[one.address for one in VALIDATORS]]
        )
        answer = await eth_call(site.rpc, site.hyperlane.validator_announce, view)
        (locations,) = decode_result(["string[][]"], answer)
        assert locations == tuple((one.location,) for one in validators.validators)


@pytest.mark.parametrize("destination", ["alpha", "beta", "gamma"])
async def test_delivery_by_hand(still_world: Devnet, destination: str) -> None:
    """Merkle-root, message-id and aggregated metadata each deliver; one false byte does not."""
    origin = "beta" if destination == "alpha" else "alpha"
    traffic, site = still_world.traffic, still_world.sites[destination]
    route = (origin, destination)
    sent = next(s for s in await traffic.spread(12) if (s.origin, s.destination) == route)
    await still_world.validators[origin].tick()
    leaves = [one.message_id.hex() for one in still_world.validators[origin].checkpoints]
    message = await _message(still_world.sites[origin], sent)
    metadata = _metadata(
        destination, still_world.validators[origin], leaves.index(sent.id.removeprefix("0x"))
    )
    forged = bytearray(metadata)
    forged[-70] ^= 1
    with pytest.raises(CallReverted):
        await _deliver(site, bytes(forged), message)
    await _deliver(site, metadata, message)
    answer = await eth_call(site.rpc, site.hyperlane.recipient, encode_call("lastData()"))
    assert decode_result(["bytes"], answer) == (sent.body,)
    assert await traffic.undelivered([sent]) == []


@pytest.mark.parametrize("fault", Fault)
async def test_faulty_validator(make_world: MakeWorld, fault: Fault) -> None:
    """Each fault shows in the faulty validator's files alone."""
    world = await make_world(WorldPlan(block_time_s=None, faults={1: fault}))
    await world.pause_operators()
    await world.traffic.spread(6)
    await world.validators["alpha"].tick()
    honest, faulty, _ = world.validators["alpha"].validators
    checkpoint = world.validators["alpha"].checkpoints[0]
    content = json.loads((honest.directory / "0_with_id.json").read_bytes())
    assert _signer(content, checkpoint.digest()) == honest.account.address
    assert _symptom(faulty.directory / "0_with_id.json", checkpoint.digest()) is fault


async def test_validators_follow_a_reorganisation(still_world: Devnet) -> None:
    """After a replaced block the leaves of the new history are signed from the start."""
    site, validators = still_world.sites["alpha"], still_world.validators["alpha"]
    traffic = still_world.traffic
    await traffic.dispatch("alpha", "beta", body=b"stays")
    await traffic.dispatch("alpha", "beta", body=b"goes")
    assert await validators.tick() == 2
    gone = validators.checkpoints[1]
    await site.rpc.call("anvil_rollback", 1)
    await traffic.dispatch("alpha", "gamma", body=b"comes")
    await still_world.nodes["alpha"].mine()
    assert await validators.tick() == 2
    assert validators.checkpoints[1].message_id != gone.message_id
    root = await eth_call(site.rpc, site.hyperlane.merkle_tree_hook, encode_call("root()"))
    assert validators.checkpoints[1].root == root


async def test_validators_sign_by_themselves(make_world: MakeWorld) -> None:
    """In a running world blocks come by the clock and checkpoints follow without a push."""
    world = await make_world(WorldPlan(block_time_s=1.0))
    (sent,) = await world.traffic.spread(1)
    file = world.validators[sent.origin].validators[0].directory / "0_with_id.json"
    async with asyncio.timeout(10):
        while not file.exists():  # noqa: ASYNC110 - another task's file system effect
            await asyncio.sleep(0.05)
    assert json.loads(file.read_bytes())["value"]["message_id"] == sent.id


async def test_recipient_reverts_with_its_reason(node: Anvil) -> None:
    """REVERTING refuses `handle` with Error("not today") and leaves the ISM to the mailbox."""
    assert await _refusal(node, REVERTING) == encode_call("Error(string)", ["not today"])
    ism = await eth_call(node.rpc, REVERTING.address, encode_call("interchainSecurityModule()"))
    assert ism == bytes(32)


async def test_revert_bomb(node: Anvil) -> None:
    """REVERT_BOMB refuses with a megabyte."""
    await REVERT_BOMB.install(node.rpc)
    with pytest.raises(CallReverted):
        await eth_call(node.rpc, REVERT_BOMB.address, _handle_call())
    assert await _return_size(node, REVERT_BOMB) == (False, MEGABYTE)


async def test_return_bomb(node: Anvil) -> None:
    """RETURN_BOMB takes the message and returns a megabyte."""
    await RETURN_BOMB.install(node.rpc)
    assert await _return_size(node, RETURN_BOMB) == (True, MEGABYTE)


async def test_gas_burner(node: Anvil) -> None:
    """GAS_BURNER uses all the gas it gets, without return data."""
    await GAS_BURNER.install(node.rpc)
    deployer = await Deployer.open(node.rpc, DEPLOYER)
    deployer.call(GAS_BURNER.address, _handle_call(), gas=200_000)
    with pytest.raises(CallReverted):
        await deployer.flush()
    block = await node.rpc.call("eth_getBlockByNumber", "0x1", False)
    assert int(block["gasUsed"], 16) == 200_000


async def test_switched_recipient(node: Anvil) -> None:
    """SWITCHED refuses until a bare transaction reached it, then takes the message."""
    refusal = encode_call("Error(string)", ["not switched on yet"])
    assert await _refusal(node, SWITCHED) == refusal
    deployer = await Deployer.open(node.rpc, DEPLOYER)
    deployer.call(SWITCHED.address, b"")
    deployer.call(SWITCHED.address, _handle_call())
    assert len(await deployer.flush()) == 2


async def test_unknown_method_is_refused(node: Anvil) -> None:
    """A node's refusal that is no revert comes as RpcRefused with the node's words."""
    with pytest.raises(RpcRefused, match="Method not found"):
        await node.rpc.call("relayer_nothing")


async def test_forgotten_transaction_is_sent_again(node: Anvil) -> None:
    """A transaction that the node queued behind a nonce already used still gets mined."""
    deployer = Deployer(node.rpc, DEPLOYER, nonce=1)
    deployer.call(RELAYERS[0].address, b"")
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        sending = group.create_task(deployer.send())
        await _until_queued(node)
        await node.rpc.call("anvil_setNonce", DEPLOYER.address, "0x1")
    (tx_hash,) = sending.result()
    receipt = await node.rpc.call("eth_getTransactionReceipt", tx_hash)
    assert receipt["status"] == "0x1"


@pytest.mark.skipif(sys.platform != "linux", reason="prctl and pidfd are Linux's")
async def test_node_dies_with_a_killed_parent(tmp_path: Path) -> None:
    """kill -9 of the process that runs a node leaves no node behind."""
    program = (
        "import asyncio\n"
        "from relayer.devnet.anvil import Anvil, AnvilOptions\n"
        "async def main():\n"
        "    async with Anvil(AnvilOptions(chain_id=31337)) as node:\n"
        "        print(node.pid, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    node_pid = int(await parent.stdout.readline())
    watch = os.pidfd_open(node_pid)
    try:
        parent.send_signal(signal.SIGKILL)
        await parent.wait()
        await _until_readable(watch, timeout_s=10)
    finally:
        os.close(watch)


async def test_frozen_node_answers_again() -> None:
    """A frozen node answers nothing; thawed, it goes on where it was."""
    async with Anvil(AnvilOptions(chain_id=31337, block_time_s=None)) as node:
        node.freeze()

        async def is_hung() -> bool:
            try:
                async with asyncio.timeout(0.3):
                    await node.rpc.call("eth_blockNumber")
            except TimeoutError:
                return True
            return False  # a thread of it had not stopped yet

        await until(is_hung, within_s=5)
        node.thaw()
        assert await node.rpc.call("eth_blockNumber") == "0x0"


def test_empty_frontier_has_the_published_root() -> None:
    """The empty tree's root is the one that Hyperlane's and the deposit contract's tests state."""
    assert Frontier().root().hex().startswith("27ae5ba0")
    assert Frontier().root().hex().endswith("d757")


def test_relayer_keys_are_private() -> None:
    """The key table gives the relayer other accounts than those that deploy, send or sign."""
    others = {account.address for account in (DEPLOYER, *VALIDATORS)}
    assert others.isdisjoint(account.address for account in RELAYERS)


# --- what the tests say by hand ---------------------------------------------------------------


async def _message(site: Site, sent: Sent) -> bytes:
    """The encoded message out of its Dispatch event."""
    dispatch = "0x" + keccak256(b"Dispatch(address,uint32,bytes32,bytes)").hex()
    query = {
        "address": site.hyperlane.mailbox,
        "topics": [dispatch],
        "fromBlock": hex(sent.block),
        "toBlock": hex(sent.block),
    }
    for log in await site.rpc.call("eth_getLogs", query):
        (message,) = decode_result(["bytes"], bytes.fromhex(log["data"][2:]))
        if "0x" + keccak256(message).hex() == sent.id:
            return bytes(message)
    raise AssertionError(f"no Dispatch of {sent.id} in block {sent.block}")


async def _deliver(site: Site, metadata: bytes, message: bytes) -> None:
    deployer = await Deployer.open(site.rpc, DEPLOYER)
    deployer.call(site.hyperlane.mailbox, encode_call("process(bytes,bytes)", [metadata, message]))
    await deployer.flush()


def _metadata(destination: str, validators: ValidatorSet, leaf: int) -> bytes:
    """What the destination's default ISM wants for a leaf, signed over the newest root or its own.

    Layouts: `solidity/contracts/isms/libs/*Metadata.sol` of hyperlane-xyz/hyperlane-monorepo.
    """
    merkle_root = _merkle_root_metadata(validators, leaf)
    message_id = _message_id_metadata(validators, leaf)
    if destination == "alpha":
        return merkle_root
    if destination == "beta":
        return message_id
    ends = [16 + len(merkle_root), 16 + len(merkle_root) + len(message_id)]
    ranges = [(16, ends[0]), (ends[0], ends[1])]
    head = b"".join(at.to_bytes(4, "big") for pair in ranges for at in pair)
    return head + merkle_root + message_id


def _message_id_metadata(validators: ValidatorSet, leaf: int) -> bytes:
    checkpoint = validators.checkpoints[leaf]
    hook = bytes.fromhex(checkpoint.hook[2:]).rjust(32, b"\x00")
    index = checkpoint.index.to_bytes(4, "big")
    return hook + checkpoint.root + index + _signatures(validators, leaf)


def _merkle_root_metadata(validators: ValidatorSet, leaf: int) -> bytes:
    last = validators.checkpoints[-1]
    proof = _proof([one.message_id for one in validators.checkpoints], leaf)
    return b"".join(
        (
            bytes.fromhex(last.hook[2:]).rjust(32, b"\x00"),
            leaf.to_bytes(4, "big"),
            last.message_id,
            *proof,
            last.index.to_bytes(4, "big"),
            _signatures(validators, last.index),
        )
    )


def _signatures(validators: ValidatorSet, index: int) -> bytes:
    """The first two validators', in the order of the ISM's list."""
    digest = validators.checkpoints[index].digest()
    return b"".join(account.sign_personal(digest) for account in VALIDATORS[:2])


def _proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Siblings of a leaf from the bottom up, in a tree of depth 32."""
    siblings, row = [], list(leaves)
    for level in range(DEPTH):
        beside = index ^ 1
        siblings.append(row[beside] if beside < len(row) else ZEROS[level])
        row += [ZEROS[level]] * (len(row) % 2)
        row = [keccak256(row[i] + row[i + 1]) for i in range(0, len(row), 2)]
        index >>= 1
    return siblings


def _signer(content: dict[str, object], digest: bytes) -> str:
    """The address that signed a checkpoint file's digest."""
    signature = bytes.fromhex(str(content["serialized_signature"])[2:])
    wrapped = keccak256(b"\x19Ethereum Signed Message:\n32" + digest)
    compact = signature[:64] + bytes([signature[64] - 27])
    key = coincurve.PublicKey.from_signature_and_message(compact, wrapped, hasher=None)
    return "0x" + keccak256(key.format(compressed=False)[1:])[12:].hex()


def _symptom(file: Path, true_digest: bytes) -> Fault:
    if not file.exists():
        return Fault.SILENT
    try:
        content = json.loads(file.read_bytes())
    except ValueError:
        return Fault.GARBAGE
    honest = {account.address for account in VALIDATORS}
    if _signer(content, true_digest) in honest:
        raise AssertionError("no symptom: signed the truth")
    checkpoint = content["value"]["checkpoint"]
    hook = bytes.fromhex(checkpoint["merkle_tree_hook_address"][2:])
    scope = keccak256(checkpoint["mailbox_domain"].to_bytes(4, "big") + hook + b"HYPERLANE")
    said = keccak256(
        scope
        + bytes.fromhex(checkpoint["root"][2:])
        + checkpoint["index"].to_bytes(4, "big")
        + bytes.fromhex(content["value"]["message_id"][2:])
    )
    return Fault.WRONG_ROOT if _signer(content, said) in honest else Fault.WRONG_SIGNATURE


def _handle_call() -> bytes:
    return encode_call(HANDLE, [1, bytes(32), b"body"])


async def _refusal(node: Anvil, recipient: Recipient) -> bytes:
    await recipient.install(node.rpc)
    with pytest.raises(CallReverted) as caught:
        await eth_call(node.rpc, recipient.address, _handle_call())
    return caught.value.revert


async def _return_size(node: Anvil, recipient: Recipient) -> tuple[bool, int]:
    """Whether `handle` succeeds and how much it returns, asked through Multicall3."""
    await install_multicall3(node.rpc)
    view = encode_call(
        "aggregate3((address,bool,bytes)[])", [[(recipient.address, True, _handle_call())]]
    )
    answer = await eth_call(node.rpc, MULTICALL3, view)
    (((ok, returned),),) = decode_result(["(bool,bytes)[]"], answer)
    return ok, len(returned)


async def _until_queued(node: Anvil) -> None:
    """Wait until the node's pool holds a transaction that waits for a predecessor."""
    while True:
        if (await node.rpc.call("txpool_status"))["queued"] == "0x1":
            return
        await asyncio.sleep(0.01)


async def _until_readable(descriptor: int, *, timeout_s: float) -> None:
    """Wait for an event of the kernel on a file descriptor (a pidfd: the process ended)."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        async with asyncio.timeout(timeout_s):
            await ready.wait()
    finally:
        loop.remove_reader(descriptor)
