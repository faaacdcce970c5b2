"""Arbitrum: messages of a Nitro chain to its parent, claimed from the parent's Outbox."""

from __future__ import annotations

from relayer.adapter import Plugin
from relayer.protocols.arbitrum.adapter import build
from relayer.protocols.arbitrum.settings import ArbitrumSettings

PLUGIN = Plugin(name="arbitrum", settings=ArbitrumSettings, build=build)
