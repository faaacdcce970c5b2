"""What is asked before a changed configuration is taken up, of nodes on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from relayer.errors import ConfigInvalid
from relayer.reloading import MOST_HANGING, Reader, replaced_files, unreached
from relayer.settings import Fingerprint, Settings
from tests.unit.chain_node import CHAIN, Node, running

DEAD, DEAD_TOO = "http://127.0.0.1:1", "http://127.0.0.1:2"


def one(*urls: str, chain: int = CHAIN, **more: Any) -> dict[str, Any]:
    return {"id": chain, "timeout_s": 2, "endpoints": [{"url": url} for url in urls], **more}


def whole(**chains: dict[str, Any]) -> Settings:
    return Settings.model_validate({"chains": chains})


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Node]:
    node = Node()
    async with running(node):
        yield node


async def test_a_new_chain_that_does_not_answer_is_refused_with_the_way_out() -> None:
    """Nobody could say that it is the right chain; each URL's trouble is named."""
    former = whole(old=one(DEAD, chain=1))
    with pytest.raises(ConfigInvalid) as caught:
        await unreached(former, whole(old=one(DEAD, chain=1), new=one(DEAD, DEAD_TOO)))
    first, *rest = str(caught.value).splitlines()
    assert first.startswith("chains.new: 0 of 2 endpoints answer, 1 must before")
    assert "correct the URL, or reload when it answers" in first
    assert [line.partition(": ")[0] for line in rest] == [
        "chains.new.endpoints[0].url",
        "chains.new.endpoints[1].url",
    ]


async def test_a_chain_that_is_down_and_reached_as_before_stands_in_nobodys_way() -> None:
    """Its fees may be changed, and other chains added."""
    former = whole(old=one(DEAD, chain=1))
    async with serving() as node:
        changed = whole(old=one(DEAD, chain=1, block_time_s=5), new=one(node.url))
        assert await unreached(former, changed) == []
        assert "eth_chainId" in node.methods()


async def test_of_a_changed_chain_enough_must_answer_and_the_others_are_named() -> None:
    """One dead URL of two is a warning; under a quorum of two it is a refusal."""
    async with serving() as node:
        former = whole(old=one(node.url))
        (warning,) = await unreached(former, whole(old=one(node.url, DEAD)))
        assert warning.startswith("chains.old.endpoints[1].url: http://127.0.0.1:1: ")
        with pytest.raises(ConfigInvalid, match=r"1 of 2 endpoints answer, 2 must"):
            await unreached(former, whole(old=one(node.url, DEAD, quorum=2)))
        with pytest.raises(ConfigInvalid, match=re.escape(f"serves chain {CHAIN}")):
            await unreached(former, whole(old=one(node.url, chain=CHAIN + 1)))


async def test_what_has_not_changed_is_not_asked() -> None:
    """A reload costs no requests to chains that it is not about."""
    async with serving() as node:
        same = whole(old=one(node.url))
        assert await unreached(same, whole(old=one(node.url))) == []
        assert node.methods() == []


def test_a_file_with_something_else_in_it_is_found_and_a_new_one_is_none() -> None:
    """What comes and goes with the configuration is told as a change of that."""
    before = {name: Fingerprint(Path(name), "1") for name in ("a", "b", "gone")}
    after = {name: Fingerprint(Path(name), "1") for name in ("a", "new")}
    assert replaced_files(before, {**after, "b": Fingerprint(Path("b"), "2")}) == ["b"]


def test_a_file_that_has_moved_up_in_a_list_is_the_same_file() -> None:
    """The first signer was taken away: no file has changed, and the list tells of itself."""
    first, second = Fingerprint(Path("one"), "1"), Fingerprint(Path("two"), "2")
    before = {"signers[0].key_file": first, "signers[1].key_file": second}
    assert replaced_files(before, {"signers[0].key_file": second}) == []
    changed = Fingerprint(Path("two"), "3")
    assert replaced_files(before, {"signers[0].key_file": changed}) == ["signers[0].key_file"]


async def test_a_file_that_hangs_is_given_up_and_another_is_read(tmp_path: Path) -> None:
    """A pipe in the configuration's place holds its thread for ever, also when it is gone."""
    reader, pipe = Reader(within_s=0.05), tmp_path / "relayer.yaml"
    os.mkfifo(pipe)
    with pytest.raises(ConfigInvalid, match=r"could not be read within 0.05 s"):
        await reader.read(pipe.read_text)
    pipe.rename(tmp_path / "pipe")
    pipe.write_text("chains: {}")
    assert await reader.read(pipe.read_text) == "chains: {}"
    (tmp_path / "pipe").write_text("")  # lets the thread go


async def test_only_so_many_threads_hang() -> None:
    """However often a reload is asked for; they are counted no more when they come back."""
    reader, hang = Reader(within_s=0.05), threading.Event()
    for _ in range(MOST_HANGING):
        with pytest.raises(ConfigInvalid, match=r"could not be read within 0.05 s"):
            await reader.read(hang.wait)
    with pytest.raises(ConfigInvalid, match=r"4 earlier reloads .* only a restart helps"):
        await reader.read(lambda: 1)
    hang.set()
    for thread in threading.enumerate():
        if thread.name == "reload":
            await asyncio.to_thread(thread.join, timeout=10)
    assert await reader.read(lambda: 1) == 1


async def test_reads_may_follow_each_other_at_once() -> None:
    """The thread of the one before may still be on its way out."""
    reader = Reader()
    assert [await reader.read(lambda: "read") for _ in range(500)] == ["read"] * 500


async def test_what_reading_finds_wrong_is_told_where_it_is_awaited() -> None:
    """As if it had been read here."""

    def wrong() -> None:
        raise ConfigInvalid("chains: are missing")

    with pytest.raises(ConfigInvalid, match="chains: are missing"):
        await Reader().read(wrong)
