"""Kinds of values that sections share, and the model that every section is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from relayer.keccak import keccak256
from relayer.message import Address

MOST = 2**53
"""Counts and gas cross JSON and Lua, where whole numbers are exact up to here."""
LONGEST_S = 3600.0
"""No time-out or beat of ours is longer: one with three zeros too many would stop us for ever."""

LONGEST_DELAY_S = 90 * 86400.0
"""No bridge makes messages wait longer."""

SECRET_URLS = ("url", "ws_url")
"""Keys of `redis`, endpoints and `web3signer` that may be given as `<key>_file` instead."""
SECRETS = (*SECRET_URLS, "secret")
"""The same with the keys of webhooks: never shown."""


class Section(BaseModel):
    """A part of the configuration: frozen, without unknown keys, silent about its input."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_truth_value(cls, value: Any, field: ValidationInfo) -> Any:
        """Pydantic would read `true` as the number 1."""
        wanted = cls.model_fields[str(field.field_name)].annotation
        if isinstance(value, bool) and wanted is not bool:
            raise ValueError("must not be true or false")
        return value


class ExpectedDelay(Section):
    """A range that no contract states: how long the bridge's operators let messages wait."""

    earliest_s: float = Field(ge=0, le=LONGEST_DELAY_S)
    latest_s: float = Field(ge=0, le=LONGEST_DELAY_S)

    @model_validator(mode="after")
    def _is_a_range(self) -> ExpectedDelay:
        if self.earliest_s > self.latest_s:
            raise ValueError(
                f"earliest_s {self.earliest_s:g} is more than latest_s {self.latest_s:g}"
            )
        return self


def _checksummed(text: str) -> str:
    """Lower-case `text`; an address in mixed case must be right by EIP-55."""
    digits = text[2:]
    if len(digits) != 40 or digits in (digits.lower(), digits.upper()):
        return text.lower()
    marks = keccak256(digits.lower().encode()).hex()
    right = [
        digit.upper() if int(mark, 16) > 7 else digit
        for digit, mark in zip(digits.lower(), marks, strict=False)
    ]
    if digits != "".join(right):
        raise ValueError(
            "has a wrong checksum (EIP-55): copy it again, or write it all in lower case"
        )
    return text.lower()


def _not_zero(address: Address) -> Address:
    if not address.strip("0x"):
        raise ValueError("must not be the zero address, where there is nothing")
    return address


def _must_match(pattern: str, wanted: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {wanted}")
        return text

    return AfterValidator(check)


def _in_schema(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern})


_NAME = r"^[a-z0-9][a-z0-9_-]{0,47}$"
_ADDRESS = r"^0x[0-9a-fA-F]{40}$"
_WORD = r"^0x[0-9a-fA-F]{64}$"
_SELECTOR = r"^0x[0-9a-fA-F]{8}$"
_ACCOUNT = r"^0x([0-9a-fA-F]{24})?[0-9a-fA-F]{40}$"

Name = Annotated[
    str,
    _must_match(_NAME, "1 to 48 lower-case letters, digits, - or _, and begin with no sign"),
    _in_schema(_NAME),
]
"""Of chains and bridges: kept in Redis keys, metric labels and URLs."""
AddressText = Annotated[
    Address,
    _must_match(_ADDRESS, "an address, 0x and 40 hex digits"),
    AfterValidator(_checksummed),
    AfterValidator(_not_zero),
    _in_schema(_ADDRESS),
]
WordText = Annotated[
    str,
    _must_match(_WORD, "0x and 64 hex digits"),
    AfterValidator(str.lower),
    _in_schema(_WORD),
]
SelectorText = Annotated[
    str,
    _must_match(_SELECTOR, "a selector, 0x and 8 hex digits: put it in quotes"),
    AfterValidator(str.lower),
    _in_schema(_SELECTOR),
]
"""The first four bytes of a call's data."""
AccountText = Annotated[
    str,
    _must_match(_ACCOUNT, "0x and 40 hex digits (an address) or 64 (a word)"),
    AfterValidator(_checksummed),
    _in_schema(_ACCOUNT),
]


def _chain_ref(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,19}", value):
        raise ValueError("is neither the name of a chain in `chains` nor a chain id")
    return value


ChainRef = Annotated[
    int, BeforeValidator(_chain_ref), WithJsonSchema({"type": ["integer", "string"]})
]
"""A chain id; the YAML may also say the chain's name in `chains`."""


def from_home(path: Path) -> Path:
    """A path with `~` taken for the home of the user who runs us; ValueError says there is none."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"{path}: no such home directory; write the whole path") from None


FilePath = Annotated[Path, AfterValidator(from_home)]


def url_with(*schemes: str) -> AfterValidator:
    """Check a secret URL's form without showing it."""

    def check(url: SecretStr) -> SecretStr:
        if not _is_url(url.get_secret_value(), schemes):
            raise ValueError(f"is not a URL of the form {' or '.join(s + '://' for s in schemes)}")
        return url

    return AfterValidator(check)


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    """Whether it has one of the schemes and says where: a socket, a host, or sentinels."""
    try:
        url = urlsplit(text)
        if url.scheme not in schemes:
            return False
        if url.scheme == "unix":
            return bool(url.path)
        hosts = [url.netloc]
        if url.scheme == "redis+sentinel":
            hosts = url.netloc.rpartition("@")[2].split(",")
        places = [urlsplit(f"//{host}") for host in hosts]
        return all(place.hostname and place.port != 0 for place in places)
    except ValueError:
        return False


def admit_files(schema: dict[str, Any], *keys: str) -> None:
    """Let the JSON schema of a section say that its secret URLs may come from files."""
    for key in keys:
        schema["properties"][f"{key}_file"] = {"type": "string", "title": f"File that holds {key}"}
    if schema.pop("required", None):
        schema["oneOf"] = [{"required": [keys[0]]}, {"required": [f"{keys[0]}_file"]}]
