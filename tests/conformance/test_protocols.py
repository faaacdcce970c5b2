"""What every protocol folder must be, whichever protocol it speaks.

A folder brings `tests/conformance/<name>.yaml`, a bridge section between the chains `one` (id 1)
and `two` (id 2); nothing else in this suite knows a protocol.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from relayer import protocols
from relayer.adapter import Adapter, Call, Checkable, Foreseeable, Log, Outcome, Verdict
from relayer.errors import BadChainData, ConfigInvalid, EndpointDown
from relayer.message import (
    Address,
    BlockHash,
    BlockNumber,
    BridgeName,
    ChainId,
    LogRef,
    Timestamp,
    TxHash,
)
from relayer.settings import parse_section
from tests.unit.sample_records import record_of

ROOT = Path(__file__).resolve().parents[2]
NAMES = protocols.available()


class NoChain:
    """A chain that answers nothing: building and decoding must not ask."""

    def __init__(self, chain_id: int) -> None:
        self.chain_id = ChainId(chain_id)

    def __getattr__(self, name: str) -> Any:
        raise EndpointDown("none", f"{name} was asked for while it must not be")


def build(name: str) -> Adapter:
    plugin = protocols.load(name)
    section = yaml.safe_load((Path(__file__).parent / f"{name}.yaml").read_text())
    context: Any = SimpleNamespace(
        chains={"one": NoChain(1), "two": NoChain(2)}, trees=None, now=lambda: Timestamp(0.0)
    )
    chosen = parse_section(plugin.settings, section, "bridge")
    return plugin.build(BridgeName("bridge"), chosen, context)


def log_of(address: Address, topics: Sequence[bytes], payload: bytes, chain: ChainId) -> Log:
    at = LogRef(chain, BlockNumber(9), BlockHash("0x" + "0b" * 32), TxHash("0x" + "0c" * 32), 0)
    return Log(address, tuple(topics), payload, at)


@pytest.mark.parametrize("name", NAMES)
def test_folder_has_a_readme_and_the_common_files(name: str) -> None:
    """A newcomer finds the same file names in every folder."""
    folder = ROOT / "relayer" / "protocols" / name
    for file in ("README.md", "__init__.py", "adapter.py", "events.py", "settings.py"):
        assert (folder / file).is_file(), f"{folder / file} is missing"
    assert protocols.load(name).name == name


@pytest.mark.parametrize("name", NAMES)
def test_unknown_keys_are_refused_by_name(name: str) -> None:
    """A typing mistake in a bridge section is an error that names it."""
    section = yaml.safe_load((Path(__file__).parent / f"{name}.yaml").read_text())
    with pytest.raises(ConfigInvalid, match="surprise"):
        parse_section(protocols.load(name).settings, {**section, "surprise": 1}, "bridge")


@pytest.mark.parametrize("name", NAMES)
async def test_building_needs_no_chain_and_describes_itself(name: str) -> None:
    """Routes, sources and trees are known from the settings alone."""
    adapter = build(name)
    try:
        assert adapter.name == "bridge"
        assert {(r.origin, r.destination) for r in adapter.routes()} <= {(1, 2), (2, 1)}
        assert adapter.routes()
        for source in adapter.sources():
            assert source.addresses
            assert source.topics
            assert all(re.fullmatch(r"0x[0-9a-f]{40}", a) for a in source.addresses)
            assert all(len(topic) == 32 for topic in source.topics)
        ids = [spec.id for spec in adapter.trees()]
        assert len(ids) == len(set(ids))
    finally:
        await adapter.aclose()


@pytest.mark.parametrize("name", NAMES)
async def test_delays_are_ranges_of_its_routes_or_asked_of_contracts(name: str) -> None:
    """Whoever waits for a first message is told something: by settings alone, or by a chain."""
    adapter = build(name)
    try:
        assert isinstance(adapter, Foreseeable)
        with contextlib.suppress(EndpointDown):
            delays = await adapter.delays()
            assert set(delays) == set(adapter.routes())
            for delay in delays.values():
                assert delay.rests_on
                assert delay.earliest_s >= 0
                assert delay.latest_s is None or delay.earliest_s <= delay.latest_s
    finally:
        await adapter.aclose()


@pytest.mark.parametrize("name", NAMES)
async def test_expectations_name_settings_and_ask_chains_that_are_configured(name: str) -> None:
    """Each is the path of a field that the section has, and a question without arguments."""
    section = yaml.safe_load((Path(__file__).parent / f"{name}.yaml").read_text())
    chosen = parse_section(protocols.load(name).settings, section, "bridge")
    adapter = build(name)
    try:
        found = adapter.expectations() if isinstance(adapter, Checkable) else ()
        for expectation in found:
            place: Any = chosen.model_dump()
            for key in expectation.field.split("."):
                place = place[key]
            assert place not in (None, {})
            assert expectation.chain in (1, 2)
            assert re.fullmatch(r"0x[0-9a-f]{40}", expectation.contract)
            assert expectation.views
            assert all(re.fullmatch(r"\w+\(\)", view) for view in expectation.views)
    finally:
        await adapter.aclose()


@pytest.mark.parametrize("name", NAMES)
async def test_foreign_logs_are_skipped(name: str) -> None:
    """Topic and address must both match: event names are shared between protocols."""
    adapter = build(name)
    try:
        for source in adapter.sources():
            stranger = Address("0x" + "99" * 20)
            for topic in source.topics:
                assert adapter.decode([log_of(stranger, [topic], b"", source.chain)]) == []
            mine = log_of(source.addresses[0], [b"\x77" * 32], b"", source.chain)
            assert adapter.decode([mine]) == []
    finally:
        await adapter.aclose()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(
    extra=st.lists(st.binary(min_size=32, max_size=32), max_size=3), payload=st.binary(max_size=400)
)
def test_malformed_logs_raise_bad_chain_data_and_nothing_else(
    name: str, extra: list[bytes], payload: bytes
) -> None:
    """Everything read from a chain is hostile: garbage is an error of one kind, never a crash."""
    adapter = build(name)
    for source in adapter.sources():
        for address in source.addresses:
            for topic in source.topics:
                log = log_of(address, [topic, *extra], payload, source.chain)
                try:
                    adapter.decode([log])
                except BadChainData:
                    continue


@pytest.mark.parametrize("name", NAMES)
@given(revert=st.binary(max_size=200), text=st.text(max_size=100), mined=st.booleans())
@settings(max_examples=60, deadline=None)
def test_classify_has_an_answer_for_anything(
    name: str, revert: bytes, text: str, mined: bool
) -> None:
    """An unknown failure is a verdict, not an exception."""
    record = record_of()
    call = Call(record.id, Address("0x" + "01" * 20), b"")
    verdict = build(name).classify(record, call, Outcome(revert, text, mined))
    assert isinstance(verdict, Verdict)
    assert verdict.detail


def engine_files() -> Mapping[Path, str]:
    """Python of the engine: everything but protocol folders and local chains."""
    return {
        path: path.read_text(encoding="utf-8").lower()
        for path in (ROOT / "relayer").rglob("*.py")
        if not {"protocols", "devnet"} & set(path.relative_to(ROOT / "relayer").parts)
    }


@pytest.mark.parametrize("name", NAMES)
def test_no_protocol_is_named_outside_its_folder(name: str) -> None:
    """Adding a protocol touches one folder; config examples, docs and the devnet aside."""
    named = [str(path) for path, text in engine_files().items() if name in text]
    assert named == []
