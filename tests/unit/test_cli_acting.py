"""What a command leaves in the audit log, also when the log cannot be had."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from relayer.acts import Act
from relayer.cli.acting import written_down
from relayer.errors import IllegalTransition, RelayerError, StoreUnavailable
from relayer.message import Timestamp
from relayer.settings import Settings
from relayer.settings.service import OperatorSettings

SETTINGS = Settings.model_validate(
    {"chains": {"one": {"id": 1, "endpoints": [{"url": "http://127.0.0.1:1/v2/planted-secret"}]}}}
)


@dataclass
class Log:
    """A store that keeps lines, until it is away."""

    is_away: bool = False
    lines: list[Act] = field(default_factory=list)

    def now(self) -> Timestamp:
        return Timestamp(1.0)

    async def note_act(self, act: Act) -> None:
        if self.is_away:
            raise StoreUnavailable("redis went away")
        self.lines.append(act)


async def act(log: Log, error: RelayerError | None = None) -> str:
    async def work() -> str:
        if error is not None:
            raise error
        return "done"

    arguments = {"why": "see planted-secret", "empty": None}
    return await written_down(SETTINGS, log, "pause", arguments, work(), told=str)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "outcome", "detail"),
    [
        (None, "ok", "done"),
        (IllegalTransition("it is dead"), "refused", "it is dead"),
        (StoreUnavailable("no answer"), "failed", "no answer"),
    ],
)
async def test_how_it_ended_is_written_down(
    error: RelayerError | None, outcome: str, detail: str
) -> None:
    """What was not allowed is refused, what only had no luck failed; secrets are in neither."""
    log = Log()
    if error is None:
        assert await act(log) == "done"
    else:
        with pytest.raises(type(error)):
            await act(log, error)
    (line,) = log.lines
    assert (line.outcome, line.detail) == (outcome, detail)
    assert line.arguments == '{"why": "see [hidden]"}'


async def test_what_was_done_stays_done_when_the_log_is_away(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The exit code tells of the act; that its line is missing is said beside it."""
    assert await act(Log(is_away=True)) == "done"
    assert "audit log has no line of this (redis went away)" in capsys.readouterr().err
    with pytest.raises(IllegalTransition):
        await act(Log(is_away=True), IllegalTransition("it is dead"))


async def test_a_secret_with_quotes_in_it_is_not_written_down(tmp_path: Path) -> None:
    """The arguments are kept as JSON, where it is spelt otherwise."""
    token = 'planted"token\\' + "x" * 32
    file = tmp_path / "token"
    file.write_text(token, encoding="ascii")
    settings = SETTINGS.model_copy(update={"operator": OperatorSettings(token_files=[file])})
    log = Log()

    async def work() -> str:
        return "done"

    arguments = {"why": f"see {token}"}
    await written_down(settings, log, "pause", arguments, work(), told=str)  # type: ignore[arg-type]
    assert log.lines[0].arguments == '{"why": "see [hidden]"}'
