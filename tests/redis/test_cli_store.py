"""The commands that need only the store, on a real embedded server in a fresh directory."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import pty
import shlex
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml
from click.testing import CliRunner, Result

from relayer.cli import main
from relayer.message import BlockNumber, ChainId, MessageSeen
from relayer.settings import RedisSettings
from relayer.store import Notice, Role, Store
from tests.unit.sample_records import ROUTE, id_of, record_of, tx_of

pytestmark = pytest.mark.redis

MESSAGES = 3
SECRET = "a secret of at least 32 characters"


@pytest.fixture
def config(tmp_path: Path) -> Iterator[str]:
    """A configuration whose store holds three waiting messages; logging is put back after."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    path = tmp_path / "relayer.yaml"
    chains = {
        name: {"id": number, "endpoints": [{"url": f"http://127.0.0.1:{number}"}]}
        for name, number in (("one", 1), ("ten", 10))
    }
    hook = {"name": "shop", "url": "https://shop.example/", "secret": SECRET}
    whole = {"data_dir": str(tmp_path), "chains": chains, "webhooks": [hook]}
    path.write_text(yaml.safe_dump(whole))
    asyncio.run(fill(tmp_path))
    yield str(path)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


async def fill(directory: Path) -> None:
    store = await Store.open(RedisSettings(), directory)
    try:
        lease = await store.acquire(ChainId(1), Role.FOLLOWER, "test")
        assert lease is not None
        facts = [MessageSeen(record_of(number).message) for number in range(1, MESSAGES + 1)]
        await store.save_facts(lease, facts)
        await store.release(lease)
        telling = await store.acquire(ChainId(10), Role.WEBHOOKS, "test")
        assert telling is not None
        dead = [Notice(1, '{"hostile": "\u001b[2J"}', attempts=15, trouble="status 500")]
        await store.settle_notices(telling, "shop", dead=dead)
        await store.release(telling)
    finally:
        await store.aclose()


def call(config: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--config", config, *arguments])


def answer(config: str, *arguments: str) -> Any:
    result = call(config, "--json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_messages_are_listed_page_by_page(config: str) -> None:
    """Pages join without gaps or repeats, and filters choose."""
    seen: list[str] = []
    after: list[str] = []
    for _ in range(MESSAGES):
        page = answer(config, "list", "--limit", "2", *after)
        seen += [message["id"] for message in page["messages"]]
        if page["after"] is None:
            break
        after = ["--after", page["after"]]
    assert sorted(seen) == [id_of(number) for number in range(1, MESSAGES + 1)]
    assert answer(config, "list", "--status", "dead")["messages"] == []
    assert len(answer(config, "list", "--route", str(ROUTE))["messages"]) == MESSAGES


def test_a_page_for_people_has_whole_ids(config: str) -> None:
    """A table that cuts ids is of no use to copy from."""
    shown = call(config, "list").stdout
    for number in range(1, MESSAGES + 1):
        assert id_of(number) in shown


@pytest.mark.parametrize("columns", [60, 110, 200])
def test_on_a_terminal_an_id_stays_on_one_line(config: str, columns: int) -> None:
    """However narrow it is: what is folded cannot be copied."""
    lines = [line.strip(" │") for line in on_a_terminal(config, "list", columns=columns)]
    for number in range(1, MESSAGES + 1):
        assert [line for line in lines if line.startswith(id_of(number))], lines
    assert sum("waiting" in line for line in lines) == MESSAGES


def test_the_way_to_the_next_page_can_be_pasted(config: str) -> None:
    """It is one line, also on a terminal, and a shell reads it as the two words it is."""
    for command in (["list", "--limit", "2"], ["list", "--limit", "1", "--oldest"]):
        (line,) = [
            line
            for line in on_a_terminal(config, *command, columns=60)
            if line.startswith("More: ")
        ]
        after = shlex.split(line.removeprefix("More: "))
        assert len(answer(config, *command, *after)["messages"]) == 1


def on_a_terminal(config: str, *arguments: str, columns: int) -> list[str]:
    """The lines that a command writes to a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = [sys.executable, "-m", "relayer", "--config", config, *arguments]
    env = {**os.environ, "TERM": "dumb", "NO_COLOR": "1"}
    env.pop("COLUMNS", None)
    with subprocess.Popen(command, stdout=theirs, stdin=theirs, env=env) as process:
        os.close(theirs)
        written = b""
        with contextlib.suppress(OSError):  # EIO: whoever wrote is gone
            while block := os.read(ours, 65536):
                written += block
    os.close(ours)
    assert process.returncode == 0
    return written.decode().splitlines()


def test_the_oldest_are_listed_first_when_they_are_asked_for(config: str) -> None:
    """Who looks for what waits longest needs the other end of the list."""
    newest = [one["id"] for one in answer(config, "list")["messages"]]
    oldest = [one["id"] for one in answer(config, "list", "--oldest")["messages"]]
    assert oldest == newest[::-1]
    assert len(oldest) == MESSAGES


def test_a_list_is_chosen_by_where_messages_go_and_whose_they_are(config: str) -> None:
    """The same filters as those of the verbs."""
    shown = answer(config, "show", id_of(1))
    for name in ("bridge", "sender", "recipient"):
        assert len(answer(config, "list", f"--{name}", shown[name])["messages"]) == MESSAGES
    there = ("--origin", "one", "--destination", "10")
    assert len(answer(config, "list", *there)["messages"]) == MESSAGES
    assert answer(config, "list", "--origin", "ten")["messages"] == []
    assert answer(config, "list", "--sender", "0x" + "9" * 40)["messages"] == []
    elsewhere = ("--route", str(ROUTE), "--destination", "one")
    assert answer(config, "list", *elsewhere)["messages"] == []
    unknown = call(config, "list", "--bridge", "nowhere")
    assert (unknown.exit_code, "'nowhere' is not configured" in unknown.stderr) == (0, True)
    assert call(config, "list", "--origin", "nowhere").exit_code == 3


@pytest.mark.parametrize("command", ["list", "dead"])
@pytest.mark.parametrize("mark", ["foo", "", "1 0x1", "nan " + id_of(1)])
def test_a_mark_that_is_none_is_wrong_usage(config: str, command: str, mark: str) -> None:
    """Nothing was looked for and not found."""
    result = call(config, command, "--after", mark)
    assert result.exit_code == 2
    assert "is not the mark that a page ended with" in result.stderr


def test_a_message_is_shown_by_id_and_by_transaction(config: str) -> None:
    """Both lead to the same view; an unknown one is exit code 3 with a way out."""
    by_id = answer(config, "show", id_of(2))
    by_tx = answer(config, "show", tx_of(2))
    assert by_id == by_tx
    assert (by_id["status"], by_id["route"]) == ("waiting", str(ROUTE))
    assert "nothing has been asked" in call(config, "show", id_of(2)).stdout
    unknown = call(config, "show", id_of(99))
    assert unknown.exit_code == 3
    assert "relayer backfill" in unknown.stderr


def test_operators_verbs_change_the_state(config: str) -> None:
    """hold, release, drop and retry are real transitions, seen by the next command."""
    for verb, status, reason in (
        ("hold", "held", "held_by_operator"),
        ("release", "waiting", "released_by_operator"),
        ("drop", "dead", "dropped_by_operator"),
        ("retry", "waiting", "retried_by_operator"),
    ):
        answer(config, verb, id_of(1))
        view = answer(config, "show", id_of(1))
        assert (view["status"], view["reason"]) == (status, reason)


def test_an_illegal_verb_is_exit_code_4_and_the_others_go_on(config: str) -> None:
    """One refusal does not stop the rest; each message has its own outcome."""
    result = call(config, "--json", "release", id_of(1), id_of(99), id_of(2))
    assert result.exit_code == 4
    outcomes = {row["id"]: row["outcome"] for row in json.loads(result.stdout)["messages"]}
    assert set(outcomes) == {id_of(1), id_of(99), id_of(2)}
    assert "waiting" in outcomes[id_of(1)]
    assert call(config, "hold", id_of(99)).exit_code == 3


def test_commands_share_the_server_of_a_running_relayer(config: str, tmp_path: Path) -> None:
    """While a process owns the directory a command attaches, and leaves the server running."""

    async def while_owned() -> Result:
        owner = await Store.open(RedisSettings(), tmp_path)
        try:
            result = await asyncio.to_thread(call, config, "--json", "hold", id_of(3))
            record = await owner.get(id_of(3))
            assert record is not None
            assert record.status == "held"
        finally:
            await owner.aclose()
        return result

    assert asyncio.run(while_owned()).exit_code == 0


def test_a_range_asked_for_can_be_taken_back(config: str, tmp_path: Path) -> None:
    """A backfill that nobody can do, or that was a mistake, does not stay for ever."""

    async def ask() -> None:
        store = await Store.open(RedisSettings(), tmp_path)
        try:
            await store.ask_rescan(ChainId(1), BlockNumber(5), BlockNumber(9))
        finally:
            await store.aclose()

    asyncio.run(ask())
    named = ("backfill", "--chain", "one", "--from", "5", "--to", "9", "--cancel")
    assert answer(config, *named) == {"chain": "one", "first": 5, "last": 9, "cancelled": True}
    again = call(config, *named)
    assert again.exit_code == 3
    assert "no open range 5 to 9" in again.stderr


def test_dead_letters_of_webhooks_are_shown_and_told_again(config: str) -> None:
    """Counts and letters without secrets or what could paint the terminal; an unknown name is 3."""
    shown = answer(config, "webhooks")
    assert shown["webhooks"] == [{"name": "shop", "pending": 0, "dead": 1, "lost": 0}]
    (letter,) = shown["dead_letters"]
    assert (letter["webhook"], letter["attempts"], letter["trouble"]) == ("shop", 15, "status 500")
    text = call(config, "webhooks").output
    assert "status 500" in text
    assert "\x1b" not in text
    assert SECRET not in text
    assert answer(config, "webhooks", "--retry", "shop")["told_again"] == 1
    assert answer(config, "webhooks")["webhooks"][0]["pending"] == 1
    missing = call(config, "webhooks", "--retry", "nobody")
    assert (missing.exit_code, "known: shop" in missing.output) == (3, True)
