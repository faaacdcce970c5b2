"""The operator's YAML as frozen models; the only reader of the environment and of secret files.

A mistake is named with its field, its value (never a secret's) and the way out.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from relayer.errors import ConfigInvalid
from relayer.message import Address

MULTICALL3 = Address("0xca11bde05977b3631167028862be2a173976ca11")
"""Multicall3's usual address on more than 250 chains (github.com/mds1/multicall3)."""

MAX_FILE_BYTES = 4 * 1024 * 1024
"""No sane configuration or secret is larger."""
MAX_DEPTH = 30  # levels of nesting; YAML can refer to itself

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,47}$")]
"""Of chains and bridges: kept in Redis keys, metric labels and URLs."""


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as bad:
        raise ValueError(f"is not a regular expression: {bad}") from None
    return text


def _url_with(schemes: tuple[str, ...]) -> AfterValidator:
    def check(url: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(url.get_secret_value())
            place = parts.path if parts.scheme == "unix" else parts.hostname
            known = parts.scheme in schemes and bool(place) and parts.port != 0
        except ValueError:
            known = False
        if not known:
            raise ValueError(f"is not a URL of the form {' or '.join(s + '://' for s in schemes)}")
        return url

    return AfterValidator(check)


HexText = Annotated[str, Field(pattern=r"^0x([0-9a-fA-F]{2}){1,32}$"), AfterValidator(str.lower)]
AddressText = Annotated[
    Address, Field(pattern=r"^0x[0-9a-fA-F]{40}$"), AfterValidator(lambda a: Address(a.lower()))
]
ChainRef = Annotated[int, WithJsonSchema({"type": ["integer", "string"]})]
"""A chain id; the YAML may also say the chain's name in `chains`."""


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )


class RedisSettings(_Model):
    """Where state lives; no `url` means a private server with its files in `data_dir`."""

    url: Annotated[SecretStr, _url_with(("redis", "rediss", "redis+sentinel", "unix"))] | None = (
        None
    )
    cluster: bool = False
    prefix: str = Field(default="relayer", pattern=r"^[A-Za-z0-9_.-]{1,32}$")
    timeout_s: float = Field(default=5, gt=0)
    lease_s: float = Field(default=15, ge=1)
    allow_unsafe: bool = False

    model_config = ConfigDict(json_schema_extra=lambda schema: _admit_files(schema, "url"))


class HttpSettings(_Model):
    """Where metrics, health and the API are served; port 0 takes any free one."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)


class LogSettings(_Model):
    """How much is logged, and in which form."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class EndpointSettings(_Model):
    """One JSON-RPC endpoint of a chain; its URLs are secrets because providers put keys in them."""

    url: Annotated[SecretStr, _url_with(("http", "https"))]
    ws_url: Annotated[SecretStr, _url_with(("ws", "wss"))] | None = None
    priority: int = 0
    max_concurrency: int = Field(default=16, ge=1, le=1024)
    requests_per_s: float | None = Field(default=None, gt=0)
    max_batch: int = Field(default=100, ge=1, le=10_000)

    model_config = ConfigDict(
        json_schema_extra=lambda schema: _admit_files(schema, "url", "ws_url")
    )


class FinalitySettings(_Model):
    """The block we act on: a tag the node keeps, or a distance behind its latest block."""

    tag: Literal["finalized", "safe", "latest"] | None = None
    depth: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _one_rule(self) -> FinalitySettings:
        if (self.tag is None) == (self.depth is None):
            raise ValueError("give exactly one of tag and depth")
        return self


class FeeSettings(_Model):
    """What a transaction may offer per gas, in gwei."""

    mode: Literal["auto", "eip1559", "legacy"] = "auto"
    max_fee_gwei: Decimal = Field(default=Decimal(500), gt=0)
    tip_gwei: Decimal | None = Field(default=None, ge=0)
    bump_percent: float = Field(default=12.5, ge=12.5, le=1000)
    """Nodes want at least 10% more in a replacement (go-ethereum's --txpool.pricebump)."""
    replace_after_blocks: int = Field(default=3, ge=1)


class SignerSettings(_Model):
    """Where one signing key comes from; the key itself never stands in the configuration."""

    key_file: Path | None = None
    key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    keystore: Path | None = None
    keystore_password_file: Path | None = None

    @model_validator(mode="after")
    def _one_source(self) -> SignerSettings:
        if sum(s is not None for s in (self.key_file, self.key_env, self.keystore)) != 1:
            raise ValueError("give exactly one of key_file, key_env and keystore")
        if (self.keystore is None) != (self.keystore_password_file is None):
            raise ValueError("keystore and keystore_password_file go together")
        return self


class LaneSettings(_Model):
    """Limits of one destination's queue."""

    batch_calls: int = Field(default=50, ge=1, le=1000)
    batch_gas: int = Field(default=12_000_000, ge=100_000)
    max_tx_bytes: int = Field(default=120_000, ge=1024)
    window: int = Field(default=16, ge=1, le=1024)
    claim: int = Field(default=200, ge=1, le=10_000)
    gas_cap: int = Field(default=2_000_000, ge=21_000)
    max_attempts: int = Field(default=40, ge=1)
    gas_margin_percent: int = Field(default=15, ge=0, le=1000)


def _half_a_block(fields: dict[str, Any]) -> float:
    return float(min(max(fields.get("block_time_s", 12.0) / 2, 0.1), 12.0))


class ChainSettings(_Model):
    """One chain: how to reach it, when to believe it, what to pay on it."""

    id: int = Field(gt=0, lt=2**63)
    endpoints: list[EndpointSettings] = Field(min_length=1, max_length=64)
    quorum: int = Field(default=1, ge=1)
    finality: FinalitySettings = FinalitySettings(tag="finalized")
    block_time_s: float = Field(default=12, gt=0, le=3600)
    poll_s: float = Field(default_factory=_half_a_block, gt=0)
    multicall: AddressText | None = MULTICALL3
    max_log_range: int = Field(default=2000, ge=1)
    fees: FeeSettings = FeeSettings()
    signers: list[SignerSettings] = []
    lane: LaneSettings = LaneSettings()
    explorer: str | None = Field(default=None, pattern=r"^https?://")
    timeout_s: float = Field(default=10, gt=0, le=600)
    max_response_bytes: int = Field(default=32 * 1024 * 1024, ge=64 * 1024)

    @model_validator(mode="after")
    def _quorum_can_be_met(self) -> ChainSettings:
        urls = {e.url.get_secret_value() for e in self.endpoints}
        if len(urls) != len(self.endpoints):
            raise ValueError("two endpoints have the same url")
        if self.quorum > len(self.endpoints):
            raise ValueError(
                f"quorum {self.quorum} needs as many endpoints, there are {len(self.endpoints)}"
            )
        return self


class MatchRule(_Model):
    """A filter on messages: every field that is given must match."""

    route: str | None = None
    """Glob on `<bridge>:<origin id>><destination id>`."""
    bridge: str | None = None
    origin: ChainRef | None = None
    destination: ChainRef | None = None
    sender: HexText | None = None
    recipient: HexText | None = None
    message_id: HexText | None = None
    max_body: int | None = Field(default=None, ge=0)
    min_body: int | None = Field(default=None, ge=0)
    body_regex: Annotated[str, Field(max_length=500), AfterValidator(_regex)] | None = None


class FeeRule(_Model):
    """What a message must have paid at its origin; the first rule that matches counts."""

    match: MatchRule | None = None
    kind: Literal["sponsor", "minimum", "quote_fraction"] = "sponsor"
    minimum: int = Field(default=0, ge=0)
    """Wei of the origin chain."""
    fraction: str = Field(default="1/2", pattern=r"^[0-9]{1,9}/[1-9][0-9]{0,8}$")


class PolicySettings(_Model):
    """Which messages are carried: `deny` wins, an empty `allow` allows all."""

    allow: list[MatchRule] = []
    deny: list[MatchRule] = []
    fee: list[FeeRule] = [FeeRule(kind="sponsor")]


def _named_protocol(bridge: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(bridge.get("protocol"), str):
        raise ValueError("has no `protocol:` (`relayer protocols` lists them)")
    return bridge


class Settings(_Model):
    """Everything the operator decides."""

    data_dir: Path = Path("data")
    instance: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    redis: RedisSettings = RedisSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()
    chains: dict[Name, ChainSettings] = Field(min_length=1)
    bridges: dict[Name, Annotated[dict[str, Any], AfterValidator(_named_protocol)]] = {}
    """Raw sections; each is validated by the settings model of its protocol (`parse_section`)."""
    policy: PolicySettings = PolicySettings()
    dry_run: bool = False
    retention_s: float = Field(default=7 * 86400, ge=60)

    @model_validator(mode="before")
    @classmethod
    def _names_to_ids(cls, raw: Any) -> Any:
        return _resolve_chain_names(raw)

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Settings:
        names: dict[int, str] = {}
        for name, chain in self.chains.items():
            if chain.id in names:
                raise ValueError(f"chains {names[chain.id]} and {name} have the same id {chain.id}")
            names[chain.id] = name
        return self


# --- reading ---------------------------------------------------------------------------------

M = TypeVar("M", bound=BaseModel)

_FOLLOWS = "default_factory_not_called"
"""Pydantic's note that a default was not computed because another field is wrong."""

SECRET_URLS = ("url", "ws_url")
"""Keys of `redis` and of endpoints that may be given as `<key>_file` instead."""


def load_settings(path: Path, environ: Mapping[str, str]) -> Settings:
    """Read the YAML at `path`, with `${NAME}` taken from `environ` and `url_file` from files.

    Relative paths are relative to the working directory. ConfigInvalid says what is wrong where.
    """
    try:
        raw = yaml.load(_read_text(path, "the configuration"), Loader=_PlainLoader)  # noqa: S506
    except yaml.YAMLError as bad:
        raise ConfigInvalid(f"{path}: not YAML: {_where_in_yaml(bad)}") from None
    except (RecursionError, TypeError, ValueError) as bad:
        raise ConfigInvalid(f"{path}: not a plain YAML mapping: {str(bad)[:200]}") from None
    if not isinstance(raw, dict):
        raise ConfigInvalid(f"{path}: must be a mapping with the key `chains`")
    return parse_section(Settings, _read_secret_files(_expand(raw, "", environ)), str(path))


def parse_section(model: type[M], raw: Mapping[str, Any], where: str) -> M:
    """Validate one section; ConfigInvalid names each wrong field under `where`, hides secrets."""
    try:
        return model.model_validate(dict(raw))
    except ValidationError as bad:
        errors = (e for e in bad.errors(include_url=False) if e["type"] != _FOLLOWS)
        lines = [f"{where}: {_explain(model, dict(e))}" for e in errors][:20]
        raise ConfigInvalid("\n".join(lines)) from None


def json_schema() -> dict[str, Any]:
    """The JSON schema of the configuration file, for editors."""
    return Settings.model_json_schema()


class _PlainLoader(yaml.SafeLoader):
    """YAML 1.2's plain scalars, so an unquoted 0x address stays text; duplicate keys are errors."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - filled below

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} occurs twice", key.start_mark
                )
            seen.add(key.value if isinstance(key.value, str) else id(key))
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("bool", r"^(true|false)$", "tf"),
    ("int", r"^[-+]?(0|[1-9][0-9_]*)$", "-+0123456789"),
    ("float", r"^[-+]?([0-9][0-9_]*)?\.?[0-9]+([eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("null", r"^(~|null|)$", ["~", "n", ""]),
    ("merge", r"^<<$", "<"),
):
    _PlainLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first)
    )


def _read_text(path: Path, what: str) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigInvalid(f"{path}: {what} is larger than {MAX_FILE_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as bad:
        why = bad.strerror if isinstance(bad, OSError) else "not UTF-8 text"
        raise ConfigInvalid(f"{path}: cannot read {what}: {why}") from None


def _where_in_yaml(bad: yaml.YAMLError) -> str:
    mark = getattr(bad, "problem_mark", None)
    problem = getattr(bad, "problem", None) or "unreadable"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else str(problem)


_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def _expand(value: Any, at: str, environ: Mapping[str, str]) -> Any:
    """Replace `${NAME}` and `${NAME:-default}` in every string below `value`."""
    if at.count(".") + at.count("[") > MAX_DEPTH:
        raise ConfigInvalid(f"{at[:80]}: nested too deeply")
    if isinstance(value, dict):
        return {k: _expand(v, f"{at}.{k}" if at else str(k), environ) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(v, f"{at}[{i}]", environ) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replacement(found: re.Match[str]) -> str:
        name, default = found.group(1), found.group(2)
        if environ.get(name) or (name in environ and default is None):
            return environ[name]
        if default is None:
            raise ConfigInvalid(
                f"{at}: ${{{name}}} is not set in the environment; "
                f"set it, or write ${{{name}:-default}}"
            )
        return default

    return _REFERENCE.sub(replacement, value)


def _read_secret_files(raw: dict[str, Any]) -> dict[str, Any]:
    """Put the content of `url_file` and `ws_url_file` in place of the secrets they stand for."""
    chains = raw.get("chains")
    chains = chains if isinstance(chains, dict) else {}
    places: list[tuple[str, Any]] = [("redis", raw.get("redis"))]
    for name, chain in chains.items():
        endpoints = chain.get("endpoints") if isinstance(chain, dict) else None
        for i, endpoint in enumerate(endpoints if isinstance(endpoints, list) else []):
            places.append((f"chains.{name}.endpoints[{i}]", endpoint))
    for at, section in places:
        for key in SECRET_URLS if isinstance(section, dict) else ():
            if f"{key}_file" in section:
                _read_secret_into(section, key, at)
    return raw


def _read_secret_into(section: dict[str, Any], key: str, at: str) -> None:
    if key in section:
        raise ConfigInvalid(f"{at}: give {key} or {key}_file, not both")
    path = Path(str(section.pop(f"{key}_file")))
    section[key] = _read_text(path, f"{at}.{key}_file").strip()
    if not section[key]:
        raise ConfigInvalid(f"{at}.{key}_file: {path} is empty")


def _admit_files(schema: dict[str, Any], *keys: str) -> None:
    """Let the JSON schema of a section say that its secret URLs may come from files."""
    for key in keys:
        schema["properties"][f"{key}_file"] = {"type": "string", "title": f"File that holds {key}"}
    if schema.pop("required", None):
        schema["oneOf"] = [{"required": [keys[0]]}, {"required": [f"{keys[0]}_file"]}]


def _resolve_chain_names(raw: Any) -> Any:
    """Copy `raw` with chain names in policy rules replaced by the ids they stand for."""
    if not isinstance(raw, dict) or not isinstance(raw.get("chains"), dict) or "policy" not in raw:
        return raw
    ids = {n: c.get("id") for n, c in raw["chains"].items() if isinstance(c, dict)}

    def resolved(value: Any) -> Any:
        if isinstance(value, list):
            return [resolved(v) for v in value]
        if not isinstance(value, dict):
            return value
        ends = {"origin", "destination"}
        return {
            k: ids.get(v, v) if k in ends and isinstance(v, str) else resolved(v)
            for k, v in value.items()
        }

    return {**raw, "policy": resolved(raw["policy"])}


# --- explaining ------------------------------------------------------------------------------


def _explain(model: type[BaseModel], error: dict[str, Any]) -> str:
    """One line: the field, what is wrong, the value unless it may be secret, the way out."""
    loc = error["loc"]
    path = ".".join(f"[{p}]" if isinstance(p, int) else str(p) for p in loc)
    at = path.replace(".[", "[") or "settings"
    text = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        known = _keys_at(model, loc[:-1])
        near = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.6)
        way = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(known)}"
        return f"{at}: unknown key; {way}"
    if error["type"] == "missing":
        return f"{at}: is required"
    shown = _showable(error.get("input"), str(loc[-1]) if loc else "")
    return f"{at}: {text}{f' (got {shown})' if shown else ''}"


def _showable(value: Any, key: str) -> str | None:
    if isinstance(value, str):
        secret = (
            key in SECRET_URLS or "key" in key or "://" in value or re.search(r"\w{20,}", value)
        )
        return "a hidden value" if secret else repr(value[:80])
    return repr(value) if isinstance(value, (bool, int, float)) else None


def _keys_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The keys a section may have, found by walking the models along `loc`."""
    here: Any = model
    for part in loc:
        here = _models_in(here)
        if isinstance(here, type) and issubclass(here, BaseModel) and part in here.model_fields:
            here = here.model_fields[str(part)].annotation
    here = _models_in(here)
    if not (isinstance(here, type) and issubclass(here, BaseModel)):
        return []
    keys = sorted(here.model_fields)
    return keys + [f"{k}_file" for k in SECRET_URLS if k in keys]


def _models_in(annotation: Any) -> Any:
    """The model inside Optional, list, dict or Annotated, or the annotation itself."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation
    for inner in reversed(typing.get_args(annotation)):
        found = _models_in(inner)
        if isinstance(found, type) and issubclass(found, BaseModel):
            return found
    return annotation
