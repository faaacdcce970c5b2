"""Endpoint names and foreign texts without the secrets that live in URLs.

Providers put API keys in the path, the query, or the user part; only scheme, host and port are
ever shown, and a node that echoes its own key in an error is cut short of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qsl, unquote, urlsplit

from relayer.chains.wire import printable

HIDDEN = "***"
SHORTEST_PATH_SECRET = 8
"""Shorter path segments are words like `rpc` and `v3`, not keys."""
SHORTEST_PASSWORD = 4


def shown_name(url: str) -> str:
    """Scheme, host and port of a URL, nothing else."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}:{parts.port}" if parts.port else f"{parts.scheme}://{host}"


def shown_names(urls: Iterable[str]) -> list[str]:
    """A distinct shown name for each URL: two keys at one provider get `#2` and so on."""
    seen: dict[str, int] = {}
    names = []
    for url in urls:
        name = shown_name(url)
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return names


class Redactor:
    """Takes the secrets of some URLs out of texts, and bounds the texts."""

    def __init__(self, urls: Iterable[str]) -> None:
        found = {secret for url in urls for secret in _secrets(url)}
        self._secrets = sorted(found, key=len, reverse=True)

    def clean(self, text: str) -> str:
        """The text without secrets, control characters and excess length."""
        text = text[:4096]
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return printable(text)

    def __repr__(self) -> str:
        return f"Redactor({len(self._secrets)} secrets)"


def _secrets(url: str) -> Iterable[str]:
    parts = urlsplit(url)
    words = [part for part in parts.path.split("/") if len(part) >= SHORTEST_PATH_SECRET]
    words += [value for _, value in parse_qsl(parts.query) if len(value) >= SHORTEST_PASSWORD]
    words += [w for w in (parts.username, parts.password) if w and len(w) >= SHORTEST_PASSWORD]
    for word in words:
        yield word
        yield unquote(word)
    if len(parts.path) > SHORTEST_PATH_SECRET:
        yield parts.path
