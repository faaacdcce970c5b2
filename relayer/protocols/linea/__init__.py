"""Linea: messages between its layer 1 and its layer 2, both ways, with and without proof."""

from __future__ import annotations

from relayer.adapter import Plugin
from relayer.protocols.linea.adapter import build
from relayer.protocols.linea.settings import LineaSettings

PLUGIN = Plugin(name="linea", settings=LineaSettings, build=build)
