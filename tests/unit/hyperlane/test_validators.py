"""Validators that cannot be reached delay nobody, and announcements are remembered."""

from __future__ import annotations

import asyncio

import pytest
from eth_abi.abi import encode as abi_encode

from relayer.errors import BadChainData, EndpointDown, RpcRefused
from relayer.message import Address
from relayer.protocols.hyperlane.announce import Announcements
from relayer.protocols.hyperlane.memory import Memory
from relayer.protocols.hyperlane.settings import StorageSettings
from relayer.protocols.hyperlane.storage import Location, Storage
from relayer.protocols.hyperlane.validators import FIRST_PAUSE_S, Validators
from tests.fakes import FakeChain, FakeClock
from tests.unit.hyperlane.world import ANNOUNCE, HOOK, ORIGIN_DOMAIN, padded, selector

ALICE, BOB = Address("0x" + "aa" * 20), Address("0x" + "bb" * 20)

LOCATIONS = selector("getAnnouncedStorageLocations(address[])")


class Shelf(Storage):
    """A storage whose buckets answer, fail or hang as told."""

    def __init__(self) -> None:
        super().__init__(StorageSettings(), allow_local=False)
        self.content: dict[tuple[str, str], bytes] = {}
        self.down: set[str] = set()
        self.hanging: dict[str, asyncio.Event] = {}
        self.reads: list[str] = []

    async def read(self, location: Location, name: str) -> bytes | None:
        self.reads.append(location.bucket)
        if location.bucket in self.hanging:
            await self.hanging[location.bucket].wait()
        if location.bucket in self.down:
            raise EndpointDown(location.bucket, "gone")
        return self.content.get((location.bucket, name))


class Scene:
    def __init__(self) -> None:
        self.clock, self.shelf, self.chain = FakeClock(), Shelf(), FakeChain(1)
        self.locations = {ALICE: ["s3://alice/eu-west-1"], BOB: ["s3://bob/eu-west-1"]}
        self.chain.answer(ANNOUNCE, LOCATIONS, self.announced)
        self.announcements = Announcements(
            self.chain, ANNOUNCE, Memory(self.clock, lifetime_s=60, most=10)
        )
        self.validators = Validators(
            ORIGIN_DOMAIN,
            padded(HOOK),
            announcements=self.announcements,
            storage=self.shelf,
            now=self.clock,
            poll_s=1,
        )

    def latest(self, bucket: str, index: int) -> None:
        self.shelf.content[bucket, "checkpoint_latest_index.json"] = str(index).encode()

    async def indices(self) -> list[int | None]:
        said = await self.validators.latest([ALICE, BOB])
        return [said[ALICE].index, said[BOB].index]

    def announced(self, arguments: bytes) -> bytes:
        """What ValidatorAnnounce answers."""
        words = [arguments[i : i + 32] for i in range(64, len(arguments), 32)]
        known = [self.locations.get(Address("0x" + word[12:].hex()), []) for word in words]
        return abi_encode(["string[][]"], [known])


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_an_unreachable_validator_is_asked_in_the_background(scene: Scene) -> None:
    """After one failure it is left alone for a while, then asked without anybody waiting."""
    scene.latest("alice", 4)
    scene.latest("bob", 7)
    scene.shelf.down.add("bob")
    assert await scene.indices() == [4, None]
    scene.shelf.reads.clear()
    scene.clock.pass_s(2)
    assert await scene.indices() == [4, None]
    assert scene.shelf.reads == ["alice"]
    scene.clock.pass_s(FIRST_PAUSE_S)
    scene.shelf.down.clear()
    scene.shelf.hanging["bob"] = asyncio.Event()
    async with asyncio.timeout(5):
        assert await scene.indices() == [4, None]
        assert await scene.indices() == [4, None]
    assert scene.shelf.reads.count("bob") == 1
    scene.shelf.hanging.pop("bob").set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert await scene.indices() == [4, 7]
    await scene.validators.aclose()


async def test_pauses_grow(scene: Scene) -> None:
    """A validator that stays away is asked ever more rarely."""
    scene.latest("alice", 4)
    scene.shelf.down.add("bob")
    for _ in range(100):
        await scene.indices()
        for _ in range(5):
            await asyncio.sleep(0)
        scene.clock.pass_s(2)
    assert scene.shelf.reads.count("bob") == 6  # at 0, 5, 15, 35, 75 and 155 s
    await scene.validators.aclose()


async def test_a_failed_checkpoint_read_counts_as_unreachable(scene: Scene) -> None:
    """What went away after its index was read is left alone too."""
    scene.latest("bob", 7)
    said = await scene.validators.latest([BOB])
    scene.shelf.down.add("bob")
    with pytest.raises(BadChainData, match="unreachable"):
        await scene.validators.checkpoint(BOB, said[BOB], 7)
    assert (await scene.validators.latest([BOB]))[BOB].trouble == "unreachable"
    await scene.validators.aclose()


async def test_closing_stops_what_hangs(scene: Scene) -> None:
    """A read that hangs does not outlive the adapter."""
    scene.shelf.hanging["bob"] = asyncio.Event()
    asking = asyncio.create_task(scene.indices())
    for _ in range(5):
        await asyncio.sleep(0)
    await scene.validators.aclose()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_one_question_for_many_askers(scene: Scene) -> None:
    """Lanes that ask at the same time share one read of each validator."""
    scene.latest("alice", 4)
    scene.latest("bob", 4)
    answers = await asyncio.gather(*(scene.indices() for _ in range(10)))
    assert answers == [[4, 4]] * 10
    assert sorted(scene.shelf.reads) == ["alice", "bob"]


async def test_the_newest_location_wins(scene: Scene) -> None:
    """Later announcements are tried first, unreadable ones are passed over."""
    scene.locations[BOB] = ["s3://old/eu-west-1", "s3://new/eu-west-1", "http://nonsense"]
    scene.latest("old", 1)
    assert await scene.indices() == [None, 1]
    scene.latest("new", 2)
    scene.clock.pass_s(2)
    assert await scene.indices() == [None, 2]


async def test_announcements_are_remembered(scene: Scene) -> None:
    """The origin is asked once per lifetime, for validators without a location too."""
    scene.locations[BOB] = []
    for _ in range(3):
        await scene.announcements.locations([ALICE, BOB])
    assert len(scene.chain.reads) == 1
    scene.clock.pass_s(61)
    scene.locations[BOB] = ["s3://bob/eu-west-1"]
    found = await scene.announcements.locations([ALICE, BOB])
    assert len(scene.chain.reads) == 2
    assert [location.bucket for location in found[BOB]] == ["bob"]


@pytest.mark.parametrize("answer", ["enormous", "nonsense", "refused"])
async def test_one_validators_announcements_spoil_only_itself(scene: Scene, answer: str) -> None:
    """A list too long to read, or one the node does not give, is nobody else's trouble."""
    honest = scene.announced

    def hostile(arguments: bytes) -> bytes:
        if padded(BOB) not in arguments:
            return honest(arguments)
        if answer == "refused":
            raise RpcRefused(-32000, "out of resources")
        return bytes(300_000) if answer == "enormous" else b"\xff" * 64

    scene.chain.answer(ANNOUNCE, LOCATIONS, hostile)
    scene.latest("alice", 4)
    scene.latest("bob", 7)
    for _ in range(2):  # with the other asked along, and with the other known already
        assert await scene.indices() == [4, None]
        scene.clock.pass_s(2)
    scene.chain.answer(ANNOUNCE, LOCATIONS, honest)
    scene.clock.pass_s(2)
    assert await scene.indices() == [4, 7]  # what was not told is not remembered


async def test_a_contract_that_does_not_answer_is_trouble(scene: Scene) -> None:
    """Nonsense from ValidatorAnnounce is not "no locations"."""
    scene.chain.answer(ANNOUNCE, LOCATIONS, b"\xff" * 64)
    with pytest.raises(EndpointDown):
        await scene.announcements.locations([ALICE])
    silent = Announcements(FakeChain(1), ANNOUNCE, Memory(scene.clock, lifetime_s=60, most=10))
    with pytest.raises(EndpointDown, match="does not answer"):
        await silent.locations([ALICE])
