"""Acts from the command line: on the store, or asked of the running relayer; all written down."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import socket
from collections.abc import Awaitable, Callable, Mapping
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any, TypeVar

import click

from relayer.acts import Act
from relayer.cli.health import reachable, silence
from relayer.errors import (
    ConfigInvalid,
    EndpointDown,
    IllegalTransition,
    Permanent,
    RelayerError,
    Transient,
)
from relayer.foreign_json import parse_json
from relayer.ops.logs import Redactor, without_secrets
from relayer.ops.views import printable
from relayer.settings import Settings, held_secrets, read_tokens, secrets_in

if TYPE_CHECKING:
    from relayer.store import Store

ANSWER_WITHIN_S = 130.0
"""Longer than a reload may take."""
MAX_ANSWER = 4 << 20

T = TypeVar("T")


async def written_down(
    settings: Settings,
    store: Store,
    what: str,
    arguments: Mapping[str, Any],
    work: Awaitable[T],
    *,
    told: Callable[[T], str],
    is_refused: Callable[[T], bool] = lambda _: False,
) -> T:
    """Do the work and leave one line of it in the audit log, also when it is refused.

    `is_refused` tells of what was done that it came to nothing.
    """
    hide = hider(settings)
    outcome, detail = "failed", "cut off"
    try:
        done = await work
        outcome, detail = "refused" if is_refused(done) else "ok", told(done)
        return done
    except RelayerError as error:
        outcome = "failed" if isinstance(error, Transient) else "refused"
        detail = str(error)
        raise
    finally:
        given = {key: value for key, value in arguments.items() if value not in (None, False, ())}
        text = json.dumps(without_secrets(given, hide), ensure_ascii=False)
        act = Act(store.now(), whoami(), "local", what, text, outcome, hide(detail))
        try:
            await store.note_act(act)
        except RelayerError as away:  # what was done is done; the outcome must not look otherwise
            why = printable(str(away), 300)
            click.echo(f"warning: the audit log has no line of this ({why})", err=True)


def hider(settings: Settings) -> Callable[[str], str]:
    """Takes the secrets and tokens of this configuration out of what a person wrote."""
    from relayer.sections import secrets_of

    secrets = [*secrets_in(settings), *held_secrets(settings, os.environ)]
    with contextlib.suppress(ConfigInvalid):  # a wrong section must not keep anybody from acting
        secrets += secrets_of(settings)
    if settings.operator is not None:
        with contextlib.suppress(ConfigInvalid):  # not everybody here may read the tokens
            secrets += read_tokens(settings.operator).values()
    return Redactor(secrets).without_known


def whoami() -> str:
    """Who sits at the command line, by the system's word and not the environment's."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return f"cli:{name}@{socket.gethostname()}"


def ask_running(
    settings: Settings, method: str, path: str, body: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The answer of the operator API of this configuration; its refusals are our errors."""
    at = settings.operator
    if at is None:
        raise ConfigInvalid(
            "operator: is not configured, so the running relayer cannot be asked; add the section"
            " and restart, or send SIGHUP for a reload"
        )
    if at.port == 0:
        raise ConfigInvalid("operator.port: 0 means any free one, so it cannot be asked; name one")
    place = f"operator {at.host}:{at.port}"
    token = next(iter(read_tokens(at).values()))
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection = HTTPConnection(reachable(at.host), at.port, timeout=ANSWER_WITHIN_S)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, f"/v1/operator/{path}", text, headers)
        response = connection.getresponse()
        status, answer = response.status, parse_json(response.read(MAX_ANSWER))
    except (OSError, HTTPException) as error:
        way_out = "is the relayer running, and are operator.host and operator.port its own?"
        raise EndpointDown(place, f"{silence(error)}; {way_out}") from None
    except ValueError:
        raise EndpointDown(place, "its answer is not ours: correct operator.port") from None
    finally:
        connection.close()
    if not isinstance(answer, dict):
        raise EndpointDown(place, "its answer is not ours: correct operator.port")
    if status >= 400:
        raise _refusal(place, status, answer)
    return answer


def _refusal(place: str, status: int, answer: Mapping[str, Any]) -> RelayerError:
    error = answer.get("error")
    text = printable(str(error.get("text") if isinstance(error, dict) else answer), 2000)
    match status:
        case 401:
            return ConfigInvalid(
                "operator.token_files: the running relayer does not accept the first of these"
                " tokens; it may not have taken up the file yet"
            )
        case 400:
            return ConfigInvalid(text)
        case 404:  # nothing that is asked here can be missing
            return EndpointDown(
                place,
                f"is not the operator API ({text}): correct operator.port, which is not that of"
                " `http`",
            )
        case 409:
            return IllegalTransition(text)
        case _ if status == 429 or status >= 500:
            return EndpointDown(place, text)
    return Permanent(text)
