"""A kept demo: what a person needs to go on with it, and more messages whenever they ask.

Everything is printed so that it can be pasted into a shell, and last, where it is seen.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence

from rich.console import Console

from relayer.devnet.ground import Ground, Sent
from relayer.devnet.service import RelayerProcess

MORE = signal.SIGUSR1


async def keep(
    ground: Ground, relayer: RelayerProcess, sent: Mapping[str, Sequence[Sent]], console: Console
) -> None:
    """Leave everything up until Ctrl-C; SIGUSR1 sends one message more over each route."""
    stop, more = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(MORE, more.set)
    await _tell(ground, relayer, sent, console)
    sending = asyncio.create_task(_send_more(ground, sent, more, console), name="more messages")
    stopping = asyncio.create_task(stop.wait(), name="until Ctrl-C")
    try:
        await asyncio.wait((sending, stopping), return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()  # it never ends but by an error
    finally:
        sending.cancel()
        stopping.cancel()
        await asyncio.gather(sending, stopping, return_exceptions=True)


async def _tell(
    ground: Ground, relayer: RelayerProcess, sent: Mapping[str, Sequence[Sent]], console: Console
) -> None:
    operator = ground.config()["operator"]
    one = next(one for group in sent.values() for one in group)
    found = await relayer.get(f"/v1/messages/{one.id}")
    lines = [
        "",
        *(f"{name}: {node.url} chain id {node.options.chain_id}"
          for name, node in ground.nodes.items()),
        f"The relayer is process {relayer.pid} with the log {relayer.log}.",
        "Ctrl-C ends it all. For another terminal: the page and the API, the page that can act and",
        "its token, the configuration, a message and what sent it; `kill` sends more messages.",
        "",
        f"URL={relayer.url}",  # no remark behind it: zsh would take that for a command
        f"OPERATOR=http://{operator['host']}:{operator['port']}",
        f"TOKEN_FILE={operator['token_files'][0]}",
        f"CONFIG={ground.config_path}",
        f"ID={one.id} TX={found['origin_tx']}",
        f"kill -USR1 {os.getpid()}",
    ]  # fmt: skip
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


async def _send_more(
    ground: Ground, sent: Mapping[str, Sequence[Sent]], more: asyncio.Event, console: Console
) -> None:
    while True:
        await more.wait()
        more.clear()
        for name, group in sent.items():
            routes = {(one.origin, one.destination) for one in group}
            for one in await ground.bridges[name].spread(len(routes), label="more"):
                line = f"{name} {one.origin} > {one.destination} sent {one.id}"
                console.print(line, soft_wrap=True, highlight=False, markup=False)
