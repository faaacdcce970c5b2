"""`relayer doctor`: one look at everything, and what to do next about each thing that ails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

from relayer.cli.checks import findings_table
from relayer.cli.health import ask, reachable
from relayer.cli.invocation import FAILURE, OK, Invocation, common, with_invocation
from relayer.cli.messages import opened_store
from relayer.errors import RelayerError
from relayer.message import ChainId, Reason, Status, Where
from relayer.offline import offline_findings
from relayer.ops.views import SENTENCES, Finding, finding_view, iso, printable
from relayer.settings import Settings

if TYPE_CHECKING:
    from relayer.store import Store
    from relayer.store.shapes import StatusCount

OLD_S = 86400.0
"""A message that is under way for longer is worth a look; some bridges take a week."""

UNDER_WAY = frozenset({Status.SEEN, Status.WAITING, Status.READY, Status.SUBMITTED})
"""What `Store.oldest_pending` tells of."""

PEOPLE: Mapping[Reason, str] = {
    Reason.INSUFFICIENT_BALANCE: "top up a signer",
    Reason.FEE_CAP_EXCEEDED: "wait for cheaper gas, or raise fees.max_fee_gwei",
    Reason.GAS_CAP_EXCEEDED: "raise lane.gas_cap if the recipient is trusted, then `relayer retry`",
    Reason.BUDGET_SPENT: "wait for the next day, or raise the budget in policy.fee",
    Reason.ROOT_MISMATCH: "see RelayerRootNotTrusted in the runbook",
    Reason.SOURCE_UNREACHABLE: "`relayer show ID` names what does not answer",
    Reason.UNSUPPORTED: "is the route in the configuration of every replica?",
    Reason.INTERNAL_ERROR: "the log has the traceback; report it",
    Reason.DENIED_BY_POLICY: "change the policy, then `relayer release --reason denied_by_policy`",
    Reason.HELD_BY_OPERATOR: "`relayer release --reason held_by_operator` when it may go on",
}
"""Reasons that do not end by themselves soon, and the way out."""


@click.command()
@common
@with_invocation
def doctor(asked: Invocation) -> None:
    """Check configuration, Redis, chains, signers, messages and pauses; exit 1 if a thing ails."""
    settings = asked.settings()
    with asked.progress() as bar:
        task = bar.add_task("configuration", total=4)
        findings = [Finding(str(asked.config), True, "reads well"), *offline_findings(settings)]
        bar.update(task, completed=1, description="chains, contracts, signers")
        findings += _online(asked, settings)
        bar.update(task, completed=2, description="the running relayer")
        findings.append(_running(settings))
        bar.update(task, completed=3, description="messages")
        findings += asked.run(_stored(settings))
    ailing = [finding for finding in findings if not finding.ok]
    view = {"ok": not ailing, "findings": [finding_view(finding) for finding in findings]}
    asked.show(view, findings_table(findings))
    raise SystemExit(FAILURE if ailing else OK)


COMMANDS = (doctor,)


def _online(asked: Invocation, settings: Settings) -> list[Finding]:
    from relayer import app

    try:
        return asked.run(app.check_online(settings))
    except RelayerError as error:
        return [Finding("online", False, printable(str(error), 500))]


def _running(settings: Settings) -> Finding:
    at = settings.http
    if at.port == 0:
        return Finding("relayer", True, "not asked: http.port is 0, which means any free one")
    found = ask(reachable(at.host), at.port)
    if found.ready:
        return Finding("relayer", True, f"the one at {at.host}:{at.port} is {found.status}")
    text = f"{found.detail}; start it (`relayer run`), or look at its log"
    return Finding("relayer", False, text)


async def _stored(settings: Settings) -> list[Finding]:
    """What the store tells of leases, messages and pauses."""
    try:
        async with opened_store(settings) as store:
            return [
                *[
                    found
                    for name in settings.chains
                    for found in await _held(store, settings, name)
                ],
                *_messages(await store.counts()),
                *[found for name in settings.chains for found in await _old(store, settings, name)],
                *await _pauses(store),
            ]
    except RelayerError as error:
        return [Finding("store", False, printable(str(error), 500))]


async def _held(store: Store, settings: Settings, name: str) -> list[Finding]:
    from relayer.store import Role

    chain = settings.chains[name]
    holders = await store.holders(ChainId(chain.id))
    roles = [Role.FOLLOWER, *([Role.LANE] if chain.signers else [])]
    return [
        Finding(f"chains.{name} {role}", True, f"held by {holders[role]}")
        if role in holders
        else Finding(f"chains.{name} {role}", False, "held by nobody: is a relayer running?")
        for role in roles
    ]


def _messages(counts: Mapping[StatusCount, int]) -> Iterator[Finding]:
    total = sum(counts.values())
    yield Finding("messages", True, f"{total} are stored")
    for key, count in sorted(counts.items(), key=lambda item: -item[1]):
        where = f"messages on {key.route}"
        if key.status is Status.DEAD and key.reason is not Reason.DROPPED_BY_OPERATOR:
            text = f"{count} dead ({key.reason}): `relayer dead`, then `relayer retry` or `drop`"
            yield Finding(where, False, text)
        elif key.reason in PEOPLE and key.status in (Status.WAITING, Status.HELD):
            sentence = SENTENCES[key.reason]
            yield Finding(where, False, f"{count}: {sentence} Next: {PEOPLE[key.reason]}")


async def _old(store: Store, settings: Settings, name: str) -> list[Finding]:
    chain = ChainId(settings.chains[name].id)
    since = await store.oldest_pending(chain)
    if since is None or store.now() - since < OLD_S:
        return []
    there = Where(destination=chain)
    page = await store.list(status=UNDER_WAY, where=there, limit=1, oldest_first=True)
    status = page.records[0].status if page.records else Status.WAITING
    text = (
        f"the oldest is under way since {iso(since)}:"
        f" `relayer list --oldest --status {status.value} --destination {name}`"
    )
    return [Finding(f"messages to {name}", False, text)]


async def _pauses(store: Store) -> list[Finding]:
    return [
        Finding(
            f"{pause.target}",
            False,
            f"is paused by {pause.who} since {iso(pause.since)} ({pause.why or 'no reason given'});"
            f" `relayer resume --{pause.target.kind} {pause.target.name}` when it may go on",
        )
        for pause in await store.pauses()
    ]
