"""The OP interop adapter against the real predeploys, on a node that refuses forged messages."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from relayer.abi import version_of
from relayer.adapter import Action, Call, Done, Log, Outcome, Step, View, Wait
from relayer.chains import ChainClient
from relayer.chains.fees import FeeQuote
from relayer.chains.signers import LocalSigner
from relayer.chains.transactions import Envelope
from relayer.devnet.accounts import ANNOUNCER
from relayer.devnet.artefacts import encode_call
from relayer.devnet.multicall import MULTICALL3, eth_call
from relayer.devnet.op_interop import NOWHERE, A, B, OpInteropLocal, Parcel
from relayer.devnet.supersim import CHAINS, Supersim, supersim_obstacle
from relayer.errors import CallReverted, RpcRefused
from relayer.keccak import keccak256
from relayer.message import (
    Address,
    BlockNumber,
    BridgeName,
    DeliverySeen,
    Fact,
    Gas,
    LeafAdded,
    MessageId,
    MessageSeen,
    Reason,
    Record,
    Wei,
)
from relayer.protocols.op_interop import contracts
from relayer.protocols.op_interop.adapter import OpInteropAdapter
from relayer.protocols.op_interop.contracts import INBOX, MESSENGER, decode_message
from relayer.protocols.op_interop.identifier import Identifier
from relayer.protocols.op_interop.settings import OpInteropSettings
from relayer.protocols.op_interop.targets import Targets
from relayer.settings import ChainSettings
from tests.fakes import truths_of
from tests.fault.conftest import until
from tests.unit.sample_records import record_of

OBSTACLE = supersim_obstacle()
pytestmark = [
    pytest.mark.chain,
    pytest.mark.skipif(OBSTACLE is not None, reason=OBSTACLE or ""),
]
CHECKSUM = "calculateChecksum((address,uint256,uint256,uint256,uint256),bytes32)"


@dataclass
class Scene:
    """Supersim, and the adapter without an engine around it."""

    sim: Supersim
    bridge: OpInteropLocal
    clients: dict[str, ChainClient]
    adapter: OpInteropAdapter

    async def facts(self) -> list[Fact]:
        """What all logs of both chains say."""
        found: list[Fact] = []
        for source in self.adapter.sources():
            client = next(one for one in self.clients.values() if one.chain_id == source.chain)
            head = (await client.header("latest")).number
            logs: list[Log] = await client.logs(
                BlockNumber(0), head, addresses=source.addresses, topics=[source.topics]
            )
            found += self.adapter.decode(logs)
        return found

    async def send(self, *parcels: Parcel) -> list[Record]:
        """Records of messages that were sent and followed, in order."""
        sent = await self.bridge.send(parcels)
        messages = {
            one.message.id: one.message
            for one in await self.facts()
            if isinstance(one, MessageSeen)
        }
        return [record_of(message=messages[one.id]) for one in sent]

    async def steps(self, records: Sequence[Record]) -> list[Step]:
        answers = await self.adapter.next_steps(records)
        return [answers[record.id] for record in records]

    async def calls(self, records: Sequence[Record]) -> list[Call]:
        steps = await self.steps(records)
        assert all(isinstance(step, Call) for step in steps), steps
        return [step for step in steps if isinstance(step, Call)]

    async def estimate(self, call: Call, *, chain: str = B) -> int:
        request = {
            "from": ANNOUNCER.address,
            "to": call.to,
            "data": "0x" + call.data.hex(),
            "accessList": [
                {"address": address, "storageKeys": ["0x" + key.hex() for key in keys]}
                for address, keys in call.access_list
            ],
        }
        return await self.clients[chain].estimate(request)

    async def deliver(self, call: Call, *, chain: str = B) -> dict[str, Any]:
        """Send a call as anybody could, through supersim's checks; its receipt."""
        rpc = self.sim.nodes[chain].rpc
        nonce = int(await rpc.call("eth_getTransactionCount", ANNOUNCER.address, "pending"), 16)
        fees = FeeQuote(max_fee=Wei(10**11), tip=Wei(10**9), gas_price=None)
        envelope = Envelope(
            self.clients[chain].chain_id, nonce, call.to, Wei(0), call.data, Gas(500_000), fees,
            call.access_list,
        )  # fmt: skip
        signed = await LocalSigner(ANNOUNCER.secret).sign(envelope)
        await rpc.call("eth_sendRawTransaction", "0x" + signed.raw.hex())
        receipts: list[dict[str, Any]] = []

        async def mined() -> bool:
            found = await rpc.call("eth_getTransactionReceipt", signed.hash)
            receipts.extend([found] if found else [])
            return bool(receipts)

        await until(mined)
        return receipts[0]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        sim = await stack.enter_async_context(Supersim(tmp_path / "supersim"))
        bridge = OpInteropLocal()
        await bridge.deploy({name: sim.nodes[name] for name in (A, B)}, tmp_path)
        clients: dict[str, ChainClient] = {}
        for name in (A, B):
            section = {
                "id": CHAINS[name],
                "endpoints": [{"url": sim.nodes[name].url}],
                "finality": {"depth": 0},
                "block_time_s": 2.0,
                "poll_s": 0.05,
            }
            chain = ChainClient(name, ChainSettings.model_validate(section), clock=time.time)
            clients[name] = await stack.enter_async_context(_started(chain))
        section = {key: value for key, value in bridge.settings().items() if key != "protocol"}
        context: Any = SimpleNamespace(chains=clients, now=time.time)
        settings = OpInteropSettings.model_validate(section)
        adapter = OpInteropAdapter(BridgeName("op_interop"), settings, context)
        yield Scene(sim, bridge, clients, adapter)


class _started:
    """A client that is started, and closed at the end."""

    def __init__(self, chain: ChainClient) -> None:
        self._chain = chain

    async def __aenter__(self) -> ChainClient:
        await self._chain.start()
        return self._chain

    async def __aexit__(self, *_: object) -> None:
        await self._chain.aclose()


async def test_keys_are_those_of_the_inbox_and_of_supersim(scene: Scene) -> None:
    """Checksums by the inbox's own pure function, also for chain ids beyond 64 bits."""
    rng = random.Random(7)
    rpc = scene.sim.nodes[A].rpc
    for bits in (1, 16, 63, 64, 65, 128, 256):
        chain_id = rng.getrandbits(bits) | 1 << bits - 1
        place = Identifier(
            rng.getrandbits(64), rng.getrandbits(32), rng.getrandbits(64) | 1, chain_id
        )
        payload = rng.randbytes(rng.randrange(200))
        words = (str(MESSENGER), place.block, place.log_index, place.timestamp, chain_id)
        told = await eth_call(rpc, INBOX, encode_call(CHECKSUM, [words, keccak256(payload)]))
        assert place.checksum(payload) == told
        assert len(place.access_keys(payload)) == (2 if bits <= 64 else 3)
    records = await scene.send(Parcel(A, b"one"), Parcel(A, b"two" * 30))
    assert scene.sim.admin is not None
    for record, call in zip(records, await scene.calls(records), strict=True):
        told = await scene.sim.admin.call("admin_getAccessListByMsgHash", record.id)
        (entry,) = told["accessList"]
        ((address, keys),) = call.access_list
        assert entry == {
            "address": address,
            "storageKeys": ["0x" + key.hex() for key in keys],
        }


async def test_what_it_says_is_what_the_node_takes(scene: Scene) -> None:
    """Mined, delivered, seen; then done, and MessageAlreadyRelayed is understood."""
    (record,) = await scene.send(Parcel(A, b"hello"))
    (call,) = await scene.calls([record])
    receipt = await scene.deliver(call)
    assert receipt["status"] == "0x1"
    deliveries = [fact for fact in await scene.facts() if isinstance(fact, DeliverySeen)]
    assert [one.message_id for one in deliveries] == [record.id]
    (step,) = await scene.steps([record])
    assert isinstance(step, Done)
    with pytest.raises(CallReverted) as caught:
        await scene.estimate(call)
    verdict = scene.adapter.classify(record, call, Outcome(caught.value.revert, "", mined=False))
    assert verdict.action is Action.DONE


async def test_a_call_without_its_access_list_is_understood(scene: Scene) -> None:
    """The inbox does not find the message: NotInAccessList."""
    (record,) = await scene.send(Parcel(A, b"hello"))
    (call,) = await scene.calls([record])
    with pytest.raises(CallReverted) as caught:
        await scene.estimate(replace(call, access_list=()))
    verdict = scene.adapter.classify(record, call, Outcome(caught.value.revert, "", mined=False))
    assert verdict.reason is Reason.REBUILD_PROOF


async def test_a_reverting_target_is_not_taken_for_the_inbox(scene: Scene) -> None:
    """The messenger hands on the target's own words."""
    (record,) = await scene.send(Parcel(A, b"hello", "Switched"))
    (call,) = await scene.calls([record])
    with pytest.raises(CallReverted) as caught:
        await scene.estimate(call)
    verdict = scene.adapter.classify(record, call, Outcome(caught.value.revert, "", mined=False))
    assert verdict.reason is Reason.TARGET_FAILED
    assert "not yet" in verdict.detail


@pytest.mark.parametrize(
    "forge",
    [
        lambda at: replace(at, timestamp=at.timestamp - 1),
        lambda at: replace(at, log_index=at.log_index + 50),
        lambda at: replace(at, block=at.block - 1),
        lambda at: replace(at, chain_id=903),
        lambda at: replace(at, block=at.block + 10**6),
    ],
    ids=["time", "log", "block", "chain", "future"],
)
async def test_simulation_takes_a_forged_identifier_and_the_node_does_not(
    scene: Scene, forge: Any
) -> None:
    """That an estimate succeeds says nothing, which is why the adapter looks itself."""
    (record,) = await scene.send(Parcel(A, b"hello"))
    (call,) = await scene.calls([record])
    true = Identifier(
        int(call.evidence["block"]), int(call.evidence["log_index"]),
        int(call.evidence["timestamp"]), int(call.evidence["source"]),
    )  # fmt: skip
    forged = forge(true)
    message = decode_message(record.message.payload)
    keys = forged.access_keys(message.log_payload())
    lie = replace(call, data=message.relay_call(forged.words()), access_list=((INBOX, keys),))
    assert await scene.estimate(lie) > 0
    with pytest.raises(RpcRefused) as caught:
        await scene.deliver(lie)
    outcome = Outcome(b"", str(caught.value), mined=False)
    verdict = scene.adapter.classify(record, lie, outcome)
    assert verdict.action is not Action.DONE
    assert verdict.reason in {
        Reason.REBUILD_PROOF,
        Reason.AWAITING_FINALITY,
        Reason.UNSUPPORTED,
    }
    assert (await scene.deliver(call))["status"] == "0x1"


async def test_a_tampered_record_makes_no_call(scene: Scene) -> None:
    """Another log, block or payload than the chain has: wait or refuse, never a call."""
    record, other = await scene.send(Parcel(A, b"hello"), Parcel(A, b"other"))
    at = record.message.at
    places = [
        replace(at, log_index=at.log_index + 50),
        replace(at, block=BlockNumber(at.block + 10**6)),
        replace(at, block=BlockNumber(at.block - 1)),
        other.message.at,
    ]
    tampered = [replace(record, message=replace(record.message, at=place)) for place in places]
    tampered.append(replace(record, message=replace(record.message, payload=other.message.payload)))
    for one in tampered:
        (step,) = await scene.steps([one])
        assert not isinstance(step, Call | Done), step


async def test_after_a_reorg_the_old_place_makes_no_call(scene: Scene) -> None:
    """The block is another one although it has the same number."""
    (record,) = await scene.send(Parcel(A, b"hello"))
    await scene.calls([record])
    node = scene.sim.nodes[A]
    head = int(await node.rpc.call("eth_blockNumber"), 16)
    await node.rpc.call("anvil_reorg", head - record.message.at.block + 1, [])
    (step,) = await scene.steps([record])
    assert isinstance(step, Wait), step
    assert step.reason is Reason.AWAITING_FINALITY


async def test_code_is_found_where_it_is(scene: Scene) -> None:
    """Contracts have code; accounts, precompiles and nowhere have none; many at once."""
    targets = Targets(scene.clients[B])
    coded = {scene.bridge.targets["Target"], MESSENGER, Address(str(MULTICALL3))}
    empty = {NOWHERE, ANNOUNCER.address, Address("0x" + "00" * 19 + "01")}
    many = {Address(f"0x{number:040x}") for number in range(2**32, 2**32 + 1200)}
    assert await targets.without_code(coded | empty | many) == empty | many
    assert await targets.without_code(coded | empty) == empty


async def test_the_messenger_is_the_version_we_know(scene: Scene) -> None:
    """supersim's predeploy."""
    (answer,) = await scene.clients[B].read([View(MESSENGER, contracts.VERSION)])
    assert version_of(answer.data) == (1, 3, 0)


async def test_the_count_is_that_of_all_messages_sent(scene: Scene) -> None:
    """Leaves by nonce, also of messages to chains outside the set, are what the nonce says."""
    await scene.send(*(Parcel(A, b"%d" % turn) for turn in range(3)), Parcel(B, b"back"))
    facts = await scene.facts()
    leaves = [fact for fact in facts if isinstance(fact, LeafAdded)]
    here, there = (f"op_interop/{scene.clients[one].chain_id}" for one in (A, B))
    assert sorted((one.tree, one.index) for one in leaves) == [
        *((here, index) for index in range(3)),
        (there, 0),
    ]
    truths = {truth.tree: truth.size for truth in await truths_of(scene.adapter)}
    assert truths == {here: 3, there: 1}
    sent = [MessageId("0x" + one.leaf.hex()) for one in leaves]
    assert {one.message.id for one in facts if isinstance(one, MessageSeen)} == set(sent)
