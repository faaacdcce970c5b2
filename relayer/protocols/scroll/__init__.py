"""Scroll: withdrawals from a Scroll rollup to its layer 1, proved against finalized batches."""

from __future__ import annotations

from relayer.adapter import Plugin
from relayer.protocols.scroll.adapter import build
from relayer.protocols.scroll.settings import ScrollSettings

PLUGIN = Plugin(name="scroll", settings=ScrollSettings, build=build)
