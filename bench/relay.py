"""Messages per second, latency, gas and RPC requests per message, on local chains."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from relayer.devnet.demo import demonstrate

MESSAGES = 1200


async def measure() -> dict[str, Any]:
    """The demo's own report for a larger burst."""
    console = Console(quiet=True)
    Path("build").mkdir(exist_ok=True)
    log = Path("build/bench-relayer.log").resolve()
    with tempfile.TemporaryDirectory(prefix="relayer-bench-") as directory:
        report = await demonstrate(Path(directory), log, MESSAGES, keep=False, console=console)
    del report["routes"]
    return report
