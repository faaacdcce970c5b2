"""`make bench`: what the relayer costs and how fast it is, on this machine, which it names."""

from __future__ import annotations

import asyncio
import json
import os
import platform
from pathlib import Path
from typing import Any

from bench import relay, startup

REPORT = Path("build/bench.json")
LOG = Path("build/bench-relayer.log")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def main() -> None:
    """Run every benchmark; print the figures and write them to build/bench.json."""
    REPORT.parent.mkdir(exist_ok=True)
    report = {
        "machine": machine(),
        "startup": asyncio.run(startup.measure()),
        "relay": asyncio.run(relay.measure(LOG.resolve())),
    }
    REPORT.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
