"""What of the configuration must not be shown, and the configuration without it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

HIDDEN = "[hidden]"

_SECRET_KEY = re.compile(r"secret|passw|api_?key|private|mnemonic|token$|credential", re.IGNORECASE)
"""Keys of sections whose model we do not know here; a `*_file` names a file and is no secret."""
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{1,20}://")


def secrets_in(model: BaseModel) -> list[str]:
    """Every secret value of a settings model, however deep."""
    return list(_secrets_below(model))


def masked(value: Any, key: str = "") -> Any:
    """A settings model as plain data for people: secrets hidden, of URLs only the place left."""
    if isinstance(value, SecretStr):
        return _masked_text(value.get_secret_value())
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {name: masked(getattr(value, name), name) for name in fields}
    if isinstance(value, dict):
        return {str(name): masked(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [masked(item, key) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if _SECRET_KEY.search(key) and not key.endswith("_file"):
        return HIDDEN
    if isinstance(value, str) and _URL.match(value):
        return _masked_text(value)
    return value if type(value) in (int, float) else str(value)


def _masked_text(secret: str) -> str:
    """Scheme, host and port of a URL, nothing of anything else."""
    try:
        url = urlsplit(secret)
        host, port = url.hostname, url.port
    except ValueError:
        return HIDDEN
    if "://" not in secret or not host:
        return HIDDEN
    place = f"{url.scheme}://{host}" + (f":{port}" if port else "")
    return place if secret.rstrip("/") == place else f"{place}/{HIDDEN}"


def _secrets_below(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
        return
    parts: Iterable[Any] = ()
    if isinstance(value, BaseModel):
        parts = (getattr(value, name) for name in type(value).model_fields)
    elif isinstance(value, dict):
        parts = value.values()
    elif isinstance(value, list | tuple):
        parts = value
    for part in parts:
        yield from _secrets_below(part)
