"""The running process as its operator sees it: what is configured, and taking up another file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from relayer.acts import Act, Nameable
from relayer.errors import IllegalTransition, RelayerError
from relayer.generations import Generations
from relayer.message import BlockNumber, ChainId, Timestamp, TxHash
from relayer.offline import bridge_findings
from relayer.ops.logs import Logging
from relayer.ops.operator.tokens import Tokens
from relayer.ops.views import printable
from relayer.parts import Parts
from relayer.reloading import (
    Reader,
    contradicted,
    differences,
    forget_gone,
    refuse_fixed,
    refuse_wrong,
    replaced_files,
    unreached,
)
from relayer.rereading import ask_again, block_of, chain_named, open_ranges, take_back
from relayer.sections import effective, secrets_of
from relayer.settings import (
    Exposed,
    Fingerprint,
    Settings,
    exposed_files,
    fingerprints,
    held_secrets,
    read_tokens,
)

TOKENS = "operator.token_files"
"""Fields of files that no agent works with."""
CRASHED = "internal error; see the log: nothing has changed"
CRASHED_LATE = (
    "internal error; see the log: the new configuration is at work, and not all that belongs to it"
    " was done; restart"
)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a configuration comes from when it is asked for again, and what is known already."""

    reread: Callable[[], Settings]
    logging: Logging
    replica: str
    """What this process calls itself."""


class Desk:
    """`ops.operator.pages.Running` of a service; one task runs `run`, which does the reloads."""

    def __init__(
        self, generations: Generations[Parts], sources: Sources, now: Callable[[], Timestamp]
    ) -> None:
        self._generations = generations
        self._sources = sources
        self._now = now
        self._reader = Reader()
        self._asked: _Ask | None = None
        self._signalled = False
        self._files: Mapping[str, Fingerprint] = {}
        self._bell = asyncio.Event()
        self._log = structlog.get_logger("relayer")
        self.tokens = Tokens({})

    @property
    def _parts(self) -> Parts:
        return self._generations.present

    @property
    def chain_ids(self) -> Mapping[str, ChainId]:
        return self._parts.chain_ids

    @property
    def level(self) -> str:
        return self._sources.logging.level

    @property
    def replica(self) -> str:
        return self._sources.replica

    def set_level(self, level: str) -> None:
        self._sources.logging.set_level(level)
        self._log.warning("log_level_set", level=level)

    def hide(self, text: str) -> str:
        """What a person wrote, without the secrets and tokens of this process."""
        return self._sources.logging.redactor.without_known(text)

    def config(self) -> dict[str, Any]:
        return effective(self._parts.settings)

    @property
    def webhooks(self) -> Sequence[str]:
        return [webhook.name for webhook in self._parts.settings.webhooks]

    @property
    def bridges(self) -> Collection[str]:
        return self._parts.settings.bridges.keys()

    @property
    def nameable(self) -> Nameable:
        parts = self._parts
        stated = {
            signer.address
            for chain in parts.settings.chains.values()
            for signer in chain.signers
            if signer.address is not None
        }
        opened = {one for chain in parts.chains for one in parts.signers_of(chain)}
        unread = [field for roster in parts.rosters.values() for field in roster.unread]
        return Nameable(parts.chain_ids, parts.routes, opened | stated, unread)

    async def look_at_pauses(self) -> None:
        await self._parts.engine.pauses.refresh()

    # --- reading again -----------------------------------------------------------------------

    async def ask_backfill(
        self, chain: str, *, first: int | None, last: int | None, tx: str | None
    ) -> dict[str, Any]:
        parts = self._parts
        client = chain_named(parts, chain)
        if tx is not None:
            first = last = await block_of(client, TxHash(tx.lower()))
        asked = await ask_again(
            parts, client, BlockNumber(int(first or 0)), BlockNumber(int(last or 0))
        )
        parts.bells[client.chain_id].follower.ring()
        return {"chain": client.name, "first": asked.first, "last": asked.last}

    async def backfills(self) -> Sequence[dict[str, Any]]:
        return await open_ranges(self._parts.store, self._parts.chain_ids)

    async def cancel_backfill(self, chain: str, *, first: int, last: int) -> dict[str, Any]:
        client = chain_named(self._parts, chain)
        blocks = BlockNumber(first), BlockNumber(last)
        await take_back(self._parts.store, client.chain_id, client.name, blocks)
        return {"chain": client.name, "first": first, "last": last, "cancelled": True}

    # --- reloading ---------------------------------------------------------------------------

    def take_up(self, settings: Settings) -> None:
        """Know the tokens and secrets of these settings; ConfigInvalid when a file is wrong."""
        read = _read(settings)
        self._learn(read)
        self._take_up_files(read)

    async def reload(self) -> dict[str, Any]:
        """Take up the file as it is now; `IllegalTransition` while another reload is under way.

        ConfigInvalid (or what a chain has to say against it) when it is refused: then nothing
        has changed.
        """
        if self._asked is not None:
            self._parts.metrics.reloaded("busy")
            raise IllegalTransition("a reload is under way; ask again when it is done")
        asked = self._ask(by_signal=False)
        try:
            # Shielded: whoever asked may go away, the reload is done or refused all the same.
            return await asyncio.shield(asked.answer)
        except asyncio.CancelledError:
            asked.is_heard = False
            raise

    def reload_soon(self) -> None:
        """What SIGHUP does: reload, and tell the log and the audit log how it went.

        During another reload it is remembered: the file may have changed since that one read it.
        """
        if self._asked is None:
            self._ask(by_signal=True)
        else:
            self._signalled = True

    async def run(self) -> None:
        """Do what `reload` asks for, one after another, until cancelled."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            assert self._asked is not None  # `_ask` rings
            try:
                await self._answer(self._asked)
            finally:
                self._asked = None
            if self._signalled:
                self._signalled = False
                self._ask(by_signal=True)

    def _ask(self, *, by_signal: bool) -> _Ask:
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(_retrieved)
        self._asked = asked = _Ask(answer, by_signal, is_heard=not by_signal)
        self._bell.set()
        return asked

    async def _answer(self, asked: _Ask) -> None:
        former = self._parts
        try:
            changes, warnings = await self._reload()
        except RelayerError as error:
            refusal = error
        except Exception:  # noqa: BLE001 - a bug in what is new must not end what works
            self._log.exception("reload_crashed")
            is_as_before = self._parts is former
            refusal = RelayerError(CRASHED if is_as_before else CRASHED_LATE)
        else:
            outcome = "taken_up" if changes else "unchanged"
            self._parts.metrics.reloaded(outcome)
            self._log.warning("reloaded", outcome=outcome, changes=changes, warnings=warnings)
            await self._note(asked, "ok", ", ".join(changes) or "nothing changed")
            told = {"reloaded": bool(changes), "changes": changes, "warnings": warnings}
            asked.answer.set_result({**told, "replica": self.replica})
            return
        self._parts.metrics.reloaded("refused")
        self._log.error("reload_refused", error=str(refusal)[:1000])
        await self._note(asked, "refused", str(refusal))
        asked.answer.set_exception(refusal)

    async def _reload(self) -> tuple[list[str], list[str]]:
        """What changed, and what of it does not answer."""
        former = self._parts
        read = await self._reader.read(lambda: _read(self._sources.reread()))
        settings, files = read.settings, read.files
        self._learn(read)
        refuse_fixed(former.settings, settings)
        refuse_wrong(bridge_findings(settings))
        changes = list(differences(former.settings, settings))
        replaced = replaced_files(self._files, files)
        warnings: list[str] = []
        if changes or any(not field.startswith(TOKENS) for field in replaced):
            warnings = await unreached(former.settings, settings)

            async def vet(opened: Parts) -> None:
                warnings.extend(await contradicted(former.settings, opened))

            parts = await self._generations.replace(settings, vet=vet)
            self._take_up_files(read)
            forget_gone(former, parts)
        else:
            self._take_up_files(read)
        if settings.log.level != former.settings.log.level:
            self._sources.logging.set_level(settings.log.level)
        return [*changes, *(f"{field} holds something else" for field in replaced)], warnings

    def _take_up_files(self, read: _Read) -> None:
        self._files = read.files
        self.tokens.replace(read.tokens)

    def _learn(self, read: _Read) -> None:
        """No secret that was read is logged from here on."""
        self._sources.logging.learn([*read.secrets, *read.tokens.values()])
        for one in read.exposed:
            self._log.warning("secret_file_exposed", field=one.field, text=one.text)

    async def _note(self, asked: _Ask, outcome: str, detail: str) -> None:
        """The line of a signal, or of a request that was cut off before it was answered.

        Any other request's own is written where it came in.
        """
        if asked.is_heard:
            return
        who, what = ("signal", "SIGHUP") if asked.by_signal else ("relayer", "reload")
        act = Act(self._now(), who, "local", what, "", outcome, printable(self.hide(detail)))
        self._parts.metrics.operator_act(outcome)
        try:
            await self._parts.store.note_act(act)
        except RelayerError as away:
            self._log.error("audit_not_kept", error=str(away)[:300])


@dataclass(frozen=True, slots=True)
class _Read:
    """A configuration, and what stands in the files that it names."""

    settings: Settings
    files: Mapping[str, Fingerprint]
    """Digests of what is read again only when a signer or the API is opened."""
    tokens: Mapping[str, str]
    secrets: Sequence[str]
    exposed: Sequence[Exposed]


def _read(settings: Settings) -> _Read:
    """Read every file that is named; ConfigInvalid when a token is no good."""
    return _Read(
        settings,
        fingerprints(settings),  # first: what changes from here on is found next time
        {} if settings.operator is None else read_tokens(settings.operator),
        [*secrets_of(settings), *held_secrets(settings, os.environ)],
        exposed_files(settings),
    )


@dataclass(slots=True)
class _Ask:
    """A reload that somebody wants, and whoever waits for its answer."""

    answer: asyncio.Future[dict[str, Any]]
    by_signal: bool
    is_heard: bool
    """Whether somebody still waits, who writes down what it came to."""


def _retrieved(answer: asyncio.Future[dict[str, Any]]) -> None:
    """An error is told in the log: nobody need wait for it."""
    if not answer.cancelled():
        answer.exception()
