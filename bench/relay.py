"""Messages per second, latency, gas and RPC requests per message, on local chains."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from relayer.devnet.demo import DemoPlan, demonstrate

MESSAGES = 1200


async def measure(log: Path) -> dict[str, Any]:
    """The demo's own report for a larger burst; the relayer's log goes to `log`."""
    console = Console(quiet=True)
    with tempfile.TemporaryDirectory(prefix="relayer-bench-") as directory:
        report = await demonstrate(Path(directory), log, DemoPlan(messages=MESSAGES), console)
    del report["routes"]
    return report
