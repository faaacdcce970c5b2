"""OP Stack: withdrawals from a rollup to its layer 1, proved from the rollup's state."""

from __future__ import annotations

from relayer.adapter import Plugin
from relayer.protocols.op_stack.adapter import build
from relayer.protocols.op_stack.settings import OpStackSettings

PLUGIN = Plugin(name="op_stack", settings=OpStackSettings, build=build)
