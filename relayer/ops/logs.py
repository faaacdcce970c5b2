"""Logs are events: a fixed lower-case name plus bound fields, one line each on standard error.

The last step before a line is written hides secrets and bounds every value, whoever logged it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TextIO
from urllib.parse import parse_qsl, unquote, urlsplit

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MAX_TEXT = 500
"""Characters kept of a field."""
MAX_TRACEBACK = 8_000
"""Characters kept of a traceback; its end says most, so the middle goes."""
MAX_ITEMS = 20
"""Items kept of a list or mapping."""
MAX_DEPTH = 4

HIDDEN = "[hidden]"
SHORTEST_SECRET = 6
"""Shorter strings would hide ordinary words."""
LONG_SEGMENT = 12
"""A path segment or user name of a URL from here on may be a key; `v2` and `default` are not."""

LEVELS = ("debug", "info", "warning", "error")

_NUMBERS = {name: logging.getLevelNamesMapping()[name.upper()] for name in LEVELS}
_METHODS = {**_NUMBERS, "exception": logging.ERROR, "critical": logging.CRITICAL}
"""How high each way to log is."""

_EVENT = re.compile(r"^[a-z][a-z0-9_]{0,63}$")
_SECRET_FIELD = re.compile(
    r"(secret|passw|api_?key|private|mnemonic|token$|authorization|credential|^url$|_url$|^raw$)"
)
_HEX_KEY = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")
_URL = re.compile(r"\b([a-z][a-z0-9+.-]{1,20})://([^\s/?#'\"<>]*)([^\s'\"<>)\]]*)", re.IGNORECASE)


class Logging:
    """What of this process's logging can be changed while it runs, for every logger there is.

    Loggers keep the processors they were bound with, so these are changed in their place.
    """

    def __init__(self, level: str = "info", secrets: Iterable[str] = ()) -> None:
        self.redactor = Redactor(secrets)
        self._level = level
        self._number = _NUMBERS[level]

    @property
    def level(self) -> str:
        """The lowest level that is logged, one of `LEVELS`."""
        return self._level

    def set_level(self, level: str) -> None:
        """Log from this level on; KeyError when it is none of `LEVELS`."""
        self._number, self._level = _NUMBERS[level], level
        logging.getLogger().setLevel(max(self._number, logging.WARNING))

    def learn(self, secrets: Iterable[str]) -> None:
        """Hide these too from now on; what was hidden stays so."""
        self.redactor.learn(secrets)

    def drop_lower(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """First of the chain: events below the level end here."""
        if _METHODS.get(method, logging.CRITICAL) < self._number:
            raise structlog.DropEvent
        return event


def configure(
    *,
    level: str = "info",
    style: str = "json",
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
    colors: bool | None = None,
) -> Logging:
    """Set up structlog and the standard library's logging for this process.

    `level` is debug, info, warning or error; `style` is json or console; every string in `secrets`
    (of a URL: its private parts) is blotted out wherever it occurs; `stream` is standard error
    when not given; `colors` are for a terminal when not given. Returns what can be changed later.
    """
    out = stream or sys.stderr
    told = Logging(level, secrets)
    structlog.configure(
        processors=processors(style, told=told, colors=out.isatty() if colors is None else colors),
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    _adopt_library_logs(max(_NUMBERS[level], logging.WARNING))
    return told


def processors(style: str, *, told: Logging, colors: bool = False) -> list[Processor]:
    """The chain every event passes, renderer last."""
    last: Processor = (
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=_plain_traceback)
        if style == "console"
        else structlog.processors.JSONRenderer(ensure_ascii=True)
    )
    return [
        told.drop_lower,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        fixed_event_name,
        told.redactor,
        last,
    ]


def fixed_event_name(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Keep event names a closed vocabulary: a sentence becomes the field `text` instead."""
    name = event.get("event")
    if not (isinstance(name, str) and _EVENT.match(name)):
        event["text"] = str(name)
        event["event"] = "misnamed_event"
    return event


class Redactor:
    """Hides secret fields, the private parts of URLs and known secrets, and bounds every value."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._parts: set[str] = set()
        self._known: re.Pattern[str] | None = None
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Hide these as well, also where they are quoted."""
        parts = {part for secret in secrets for part in _private_parts(secret)}
        self._parts |= {spelt for part in parts for spelt in _spellings(part)}
        longest_first = sorted(self._parts, key=len, reverse=True)
        self._known = re.compile("|".join(map(_pattern, longest_first))) if self._parts else None

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        return {key: self._field(key, value, 0) for key, value in event.items()}

    def text(self, text: str, limit: int = MAX_TEXT) -> str:
        """`text` without secrets, at most `limit` characters long."""
        # Cut generously first: the patterns below must never run over a megabyte.
        clean = _shortened(text, 2 * limit + 4096)
        if self._known is not None:
            clean = self._known.sub(HIDDEN, clean)
        return _shortened(_URL.sub(_public_part, clean), limit)

    def without_known(self, text: str) -> str:
        """`text`, which a person wrote and which is bounded, without the secrets that are known."""
        return text if self._known is None else self._known.sub(HIDDEN, text)

    def _field(self, key: str, value: Any, depth: int) -> Any:
        if _SECRET_FIELD.search(key.lower()):
            return HIDDEN
        if key == "exception" and isinstance(value, str):
            return self.text(value, MAX_TRACEBACK)
        return self._value(value, depth)

    def _value(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int):
            return int(value) if abs(value) < 2**53 else str(value)
        if isinstance(value, str):
            return self.text(str(value))
        if isinstance(value, bytes | bytearray | memoryview):
            return self.text("0x" + bytes(value[:MAX_TEXT]).hex())
        if depth >= MAX_DEPTH:
            return "..."
        if isinstance(value, Mapping):
            kept = list(value.items())[:MAX_ITEMS]
            return {self.text(str(k)): self._field(str(k), v, depth + 1) for k, v in kept}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._value(item, depth + 1) for item in list(value)[:MAX_ITEMS]]
        return self.text(str(value))


def without_secrets(value: Any, hide: Callable[[str], str]) -> Any:
    """Plain data with every text in it, names too, passed through `hide`.

    Before it is written as JSON: a secret with a quote in it is spelt differently there.
    """
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, Mapping):
        return {hide(str(key)): without_secrets(item, hide) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item, hide) for item in value]
    return value


def _private_parts(secret: str) -> list[str]:
    """What to blot out: of a URL password, query values, long segments and user, else all."""
    if "://" not in secret:
        return [secret] if len(secret) >= SHORTEST_SECRET else []
    try:
        url = urlsplit(secret)
        password = url.password or ""
    except ValueError:
        return [secret]
    places = [url.username or "", *url.path.split("/")]
    long = [part for place in places for part in (place, unquote(place))]
    values = [password, unquote(password), *(value for _, value in parse_qsl(url.query))]
    return [
        *(part for part in long if len(part) >= LONG_SEGMENT),
        *(part for part in values if len(part) >= SHORTEST_SECRET),
    ]


def _spellings(secret: str) -> set[str]:
    """A secret as it is, and as JSON and error texts quote it."""
    quoted = json.dumps(secret), json.dumps(secret, ensure_ascii=False), repr(secret)
    return {secret, *(text[1:-1] for text in quoted)}


def _pattern(secret: str) -> str:
    """What finds a secret; a key is the same key in capitals, and without its prefix."""
    key = _HEX_KEY.fullmatch(secret)
    return re.escape(secret) if key is None else f"(?i:{key.group(1)})"


def _public_part(found: re.Match[str]) -> str:
    scheme, authority, rest = found.groups()
    host = authority.rpartition("@")[2]
    return f"{scheme}://{host}{'/' + HIDDEN if rest.strip('/') else ''}"


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = (limit - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def _plain_traceback(out: TextIO, exc_info: Any) -> None:
    """Tracebacks are text before they reach the renderer; locals are never shown."""


class Seldom(logging.Filter):
    """Lets one line a minute through of those that begin so: no stranger may fill our log."""

    def __init__(self, beginning: str = "") -> None:
        super().__init__()
        self._beginning = beginning
        self._from = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.getMessage().startswith(self._beginning):
            return True
        now = time.monotonic()
        if now < self._from:
            return False
        self._from = now + 60.0
        record.exc_info = None  # a traceback through the library, with what was sent in it
        return True


class _IntoStructlog(logging.Handler):
    """Carries what libraries log through the same redaction, under one event name."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            structlog.get_logger("library").log(
                record.levelno,
                "library_log",
                logger=record.name,
                text=record.getMessage(),
                exc_info=record.exc_info,
            )
        except Exception:  # noqa: BLE001 - a library's broken log line must not reach its caller
            self.handleError(record)


def _adopt_library_logs(level: int) -> None:
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _IntoStructlog)]:
        root.removeHandler(old)
    root.addHandler(_IntoStructlog())
    root.setLevel(level)
    asyncio_logger = logging.getLogger("asyncio")
    for kept in [f for f in asyncio_logger.filters if isinstance(f, Seldom)]:
        asyncio_logger.removeFilter(kept)
    asyncio_logger.addFilter(Seldom("socket.accept() out of system resource"))
