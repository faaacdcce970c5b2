"""`make bench`: what the relayer costs and how fast it is, on this machine, which it names.

`python -m bench NAME...` runs those of its parts that are named.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import interop, protocols, relay, startup

REPORT = Path("build/bench.json")
LOG = Path("build/bench-relayer.log")
PARTS: Mapping[str, Callable[[], Awaitable[dict[str, Any]]]] = {
    "startup": startup.measure,
    "relay": lambda: relay.measure(LOG.resolve()),
    "protocols": lambda: protocols.measure(LOG.resolve()),
    "interop": lambda: interop.measure(LOG.resolve()),
}
USUAL = ("startup", "relay", "protocols")
"""Without names; `interop` needs root and takes minutes."""


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def main(names: Sequence[str]) -> None:
    """Run benchmarks by name; print the figures and write them to build/bench.json."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise SystemExit(f"no benchmark {unknown[0]!r}; there are {', '.join(PARTS)}")
    REPORT.parent.mkdir(exist_ok=True)
    report: dict[str, Any] = {"machine": machine()}
    for name in names or USUAL:
        report[name] = asyncio.run(_measured(name))
    REPORT.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


async def _measured(name: str) -> dict[str, Any]:
    return await PARTS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
