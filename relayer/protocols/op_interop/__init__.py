"""OP interop: messages between the layer 2s of one dependency set, checked by their nodes."""

from __future__ import annotations

from relayer.adapter import Plugin
from relayer.protocols.op_interop.adapter import build
from relayer.protocols.op_interop.settings import OpInteropSettings

PLUGIN = Plugin(name="op_interop", settings=OpInteropSettings, build=build)
