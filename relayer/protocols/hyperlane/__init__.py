"""Hyperlane: mailboxes, proved by validators' signatures of the origin's Merkle tree."""

from __future__ import annotations

from relayer.adapter import Plugin
from relayer.protocols.hyperlane.adapter import build
from relayer.protocols.hyperlane.settings import HyperlaneSettings

PLUGIN = Plugin(name="hyperlane", settings=HyperlaneSettings, build=build)
