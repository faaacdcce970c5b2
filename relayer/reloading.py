"""What a changed configuration changes, and whether it may be taken up while the relayer runs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from relayer.chains.roll_call import roll_call
from relayer.checkup import check_bridges
from relayer.errors import ConfigInvalid
from relayer.ops.views import Finding
from relayer.parts import Parts
from relayer.settings import ChainSettings, Fingerprint, Settings

FIXED = ("data_dir", "instance", "redis", "http", "retention_s")
"""Sections that the parts of the process outside of any generation were made from."""
BY_NAME = ("chains", "bridges")
READ_WITHIN_S = 10.0
MOST_HANGING = 4
"""Threads that may wait for files for ever: a pipe that is gone lets go of none."""
ASK_WITHIN_S = 15.0

T = TypeVar("T")


def refuse_fixed(former: Settings, settings: Settings) -> None:
    """ConfigInvalid with a line for each section that only a restart can change."""
    names = [name for name in FIXED if getattr(former, name) != getattr(settings, name)]
    if _address(former) != _address(settings):
        names.append("operator")
    if former.log.format != settings.log.format:
        names.append("log.format")
    if names:
        raise ConfigInvalid(
            "\n".join(
                f"{name}: cannot be changed while the relayer runs; put it back, or restart"
                for name in names
            )
        )


class Reader:
    """Reads files apart from everything else: a mount that hangs must not stop what works."""

    def __init__(self, *, within_s: float = READ_WITHIN_S) -> None:
        self._within_s = within_s
        self._hanging: list[concurrent.futures.Future[Any]] = []

    async def read(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises; ConfigInvalid when it takes too long."""
        self._hanging = [one for one in self._hanging if not one.done()]
        if len(self._hanging) >= MOST_HANGING:
            raise ConfigInvalid(
                f"the files of {MOST_HANGING} earlier reloads still cannot be read;"
                " while they hang, only a restart helps"
            )
        answer: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._hanging.append(answer)

        def run() -> None:
            answer.set_running_or_notify_cancel()
            try:
                answer.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
                answer.set_exception(error)

        # None of the loop's threads, and a daemon: the end of the process waits for those.
        threading.Thread(target=run, name="reload", daemon=True).start()
        try:
            async with asyncio.timeout(self._within_s):
                return await asyncio.wrap_future(answer)
        except TimeoutError:
            raise ConfigInvalid(
                f"the configuration, or a file that it names, could not be read within"
                f" {self._within_s:g} s: is it a pipe, or on a mount that hangs?"
            ) from None


async def unreached(former: Settings, settings: Settings) -> list[str]:
    """What does not answer of the chains that are new, or reached in another way than before.

    ConfigInvalid when too little answers to know that it is the right chain: a mistyped URL must
    not be taken up in silence. Chains that are reached as before are not asked: that one of them is
    down must not stand in the way of anything else.
    """
    asked = {
        name: chain
        for name, chain in settings.chains.items()
        if name not in former.chains or _way_to(former.chains[name]) != _way_to(chain)
    }
    calls = await asyncio.gather(*(roll_call(name, chain) for name, chain in asked.items()))
    silent: list[str] = []
    refused: list[str] = []
    for (name, chain), present in zip(asked.items(), calls, strict=True):
        missing = [one for one in present if one.problem]
        silent += [f"{one.field}: {one.name}: {one.problem}" for one in missing]
        answering = len(chain.endpoints) - sum(one.field.endswith(".url") for one in missing)
        if answering < chain.quorum:
            refused.append(
                f"chains.{name}: {answering} of {len(chain.endpoints)} endpoints answer,"
                f" {chain.quorum} must before the chain is taken up: correct the URL,"
                " or reload when it answers"
            )
    if refused:
        raise ConfigInvalid("\n".join([*refused, *silent]))
    return silent


def _way_to(chain: ChainSettings) -> tuple[object, ...]:
    return chain.id, chain.endpoints, chain.quorum


async def contradicted(former: Settings, parts: Parts) -> list[str]:
    """What could not be asked about bridges that are new or changed.

    ConfigInvalid when a chain says otherwise than the configuration, for example that there is no
    code at an address. Bridges that are as before are not asked about.
    """
    changed = [
        adapter
        for name, adapter in parts.engine.adapters.items()
        if former.bridges.get(name) != parts.settings.bridges[name]
    ]
    findings = await check_bridges(changed, parts.chains.values(), within_s=ASK_WITHIN_S)
    refuse_wrong([finding for finding in findings if finding.is_known])
    return [f"{one.subject}: {one.text}" for one in findings if not one.is_known]


def refuse_wrong(findings: Iterable[Finding]) -> None:
    """ConfigInvalid with a line for each finding that is not well."""
    wrong = [f"{finding.subject}: {finding.text}" for finding in findings if not finding.ok]
    if wrong:
        raise ConfigInvalid("\n".join(wrong))


def forget_gone(former: Parts, parts: Parts) -> None:
    """No series must go on telling of what is not configured any more: an alert would stay on."""
    metrics, api_metrics = parts.metrics, parts.api_metrics
    for bridge in former.engine.adapters.keys() - parts.engine.adapters.keys():
        metrics.forget(bridge=bridge)
    for route in former.routes - parts.routes:
        metrics.forget(route=str(route))
    for tree in former.trees - parts.trees:
        metrics.forget(tree=tree)
    for webhook in former.webhooks - parts.webhooks:
        api_metrics.forget_webhook(webhook)
    for name, chain in former.chains.items():
        now = parts.chains.get(name)
        if now is None:
            metrics.forget(chain=name)
            continue
        for endpoint in {one.name for one in chain.health()} - {one.name for one in now.health()}:
            metrics.forget(chain=name, endpoint=endpoint)
        for signer in former.signers_of(name) - parts.signers_of(name):
            metrics.forget(chain=name, signer=signer)


def replaced_files(
    before: Mapping[str, Fingerprint], after: Mapping[str, Fingerprint]
) -> list[str]:
    """Fields that name a file which was named before, and has something else in it.

    By the file and not by the field: another place in a list is a change of the list.
    """
    known = {one.path: one.digest for one in before.values()}
    return [field for field, one in after.items() if known.get(one.path, one.digest) != one.digest]


def differences(former: Settings, settings: Settings) -> Iterator[str]:
    """Paths of what differs, for example `chains.gamma added`."""
    for name in type(settings).model_fields:
        before, after = getattr(former, name), getattr(settings, name)
        if before == after:
            continue
        if name not in BY_NAME:
            yield name
            continue
        yield from (f"{name}.{key} added" for key in after if key not in before)
        yield from (f"{name}.{key} removed" for key in before if key not in after)
        yield from (
            f"{name}.{key} changed" for key in after if key in before and before[key] != after[key]
        )


def _address(settings: Settings) -> tuple[str, int] | None:
    at = settings.operator
    return None if at is None else (at.host, at.port)
