"""Keys on disk: read within bounds, written once and for their owner alone.

Keystores are Web3 Secret Storage files (version 3, and version 4 of EIP-2335 when read).
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from eth_account import Account

from relayer.errors import ConfigInvalid
from relayer.foreign_json import parse_json
from relayer.settings import read_regular

MAX_KEY_FILE = 64 * 1024
"""Bytes; a keystore is under 1 KiB."""
OWNER_ONLY = 0o600


def read_key_text(path: Path, key: str) -> str:
    """The text of a small file that the configuration's `key` names; ConfigInvalid without it."""
    try:
        content = read_regular(path, MAX_KEY_FILE + 1)
        if len(content) > MAX_KEY_FILE:
            raise ConfigInvalid(f"{key}: {path} is too large for a key")
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as bad:
        why = bad.strerror if isinstance(bad, OSError) else "not text"
        raise ConfigInvalid(f"{key}: cannot read {path}: {why}") from None


def read_password(path: Path, key: str) -> str:
    """A password file's content without its line end; ConfigInvalid when nothing is left."""
    password = read_key_text(path, key).rstrip("\r\n")
    if not password:
        raise ConfigInvalid(f"{key}: {path} is empty")
    return password


def hex_key(text: str, place: str) -> bytes:
    """A key written as hex; `place` is what ConfigInvalid calls its source."""
    found = re.fullmatch(r"(?:0x)?([0-9a-fA-F]{64})", text.strip())
    if found is None:
        raise ConfigInvalid(f"{place} does not hold 64 hex digits, with or without 0x")
    return bytes.fromhex(found.group(1))


def read_keystore(path: Path, password: str) -> bytes:
    """Decrypt a keystore; takes about a second by design of its key derivation."""
    text = read_key_text(path, "keystore")
    try:
        return bytes(Account.decrypt(parse_json(text), password))
    except (ValueError, TypeError, KeyError, NotImplementedError):
        raise ConfigInvalid(f"keystore: {path} is no keystore, or its password is wrong") from None


def stated_address(text: str) -> str | None:
    """The address that a keystore claims to be of, None when it is no keystore that says so."""
    try:
        found: Any = parse_json(text.encode())
    except ValueError:
        return None
    said = str(found.get("address", "")) if isinstance(found, dict) else ""
    digits = said.removeprefix("0x").lower()
    return f"0x{digits}" if re.fullmatch(r"[0-9a-f]{40}", digits) else None


def create_keystore(path: Path, password: str) -> bytes:
    """Write a new key, encrypted, to a file that must not exist yet; returns the key."""
    key = bytes(Account.create().key)
    text = json.dumps(Account.encrypt(key, password)) + "\n"
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    except OSError as bad:
        raise ConfigInvalid(f"cannot create {path}: {bad.strerror}") from None
    try:
        with os.fdopen(number, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as bad:
        path.unlink(missing_ok=True)
        raise ConfigInvalid(f"cannot write {path}: {bad.strerror}") from None
    return key
