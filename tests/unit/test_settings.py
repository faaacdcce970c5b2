"""The configuration file: what is read, what is refused and in which words, what stays secret."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from relayer.errors import ConfigInvalid
from relayer.settings import (
    MULTICALL3,
    ChainSettings,
    FeeRule,
    FinalitySettings,
    RedisSettings,
    Settings,
    SignerSettings,
    json_schema,
    load_settings,
    parse_section,
    problems_in,
)

SECRET = "abcdef0123456789abcdef"
EXAMPLE = Path(__file__).parents[2] / "config" / "relayer.example.yaml"

SMALLEST = """
chains:
  alpha:
    id: 1
    endpoints: [{url: "https://node.example/${KEY}"}]
"""


def _load(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Settings:
    path = tmp_path / "relayer.yaml"
    path.write_text(text)
    return load_settings(path, {"KEY": SECRET} if environ is None else environ)


def _refusal(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        _load(tmp_path, text, environ)
    assert SECRET not in f"{caught.value} {caught.value.__cause__}"
    return str(caught.value)


def hook(url: str, secret: str = "s" * 32) -> str:
    """A webhook of the configuration."""
    return f"webhooks: [{{name: shop, url: '{url}', secret: {secret}, allow_http: true}}]"


def test_a_tilde_is_the_user_s_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell would have expanded it, so people write it; a home that is not there is named."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "node-url").write_text("https://node.example/")
    alpha = "id: 1, endpoints: [{url_file: ~/node-url}], signers: [{key_file: ~/key}]"
    found = _load(tmp_path, f"data_dir: ~/data\nchains: {{alpha: {{{alpha}}}}}")
    assert found.data_dir == tmp_path / "data"
    assert found.chains["alpha"].signers[0].key_file == tmp_path / "key"
    assert found.read_from == (("chains.alpha.endpoints[0].url_file", tmp_path / "node-url"),)
    lost = alpha.replace("~/", "~nobody-of-this-name/")
    refusal = _refusal(tmp_path, f"chains: {{alpha: {{{lost}}}}}")
    assert (
        "chains.alpha.endpoints[0].url_file: ~nobody-of-this-name/node-url: no such home" in refusal
    )
    lost = alpha.replace("~/key", "~nobody-of-this-name/key")
    assert "signers[0].key_file" in _refusal(tmp_path, f"chains: {{alpha: {{{lost}}}}}")


def test_defaults(tmp_path: Path) -> None:
    """One chain with one endpoint is a whole configuration."""
    found = _load(tmp_path, SMALLEST)
    chain = found.chains["alpha"]
    assert chain.endpoints[0].url.get_secret_value() == f"https://node.example/{SECRET}"
    assert chain.finality == FinalitySettings(tag="finalized")
    assert (chain.multicall, chain.quorum, chain.poll_s) == (MULTICALL3, 1, 6.0)
    assert (chain.fees.bump_percent, chain.lane.window) == (12.5, 16)
    assert found.redis.url is None
    assert found.policy.fee == [FeeRule(kind="sponsor")]
    assert found.retention_s == 7 * 86400
    assert (found.http.host, found.http.port) == ("127.0.0.1", 8080)


@pytest.mark.parametrize(
    ("block_time_s", "poll_s"), [("12", 6.0), ("0.05", 0.1), ("2", 1.0), ("600", 12.0)]
)
def test_poll_interval_follows_the_block_time(
    tmp_path: Path, block_time_s: str, poll_s: float
) -> None:
    """Half a block, between a tenth of a second and twelve seconds; an explicit value wins."""
    text = SMALLEST + f"    block_time_s: {block_time_s}\n"
    assert _load(tmp_path, text).chains["alpha"].poll_s == poll_s
    assert _load(tmp_path, text + "    poll_s: 3\n").chains["alpha"].poll_s == 3


def test_secrets_stay_out_of_every_dump(tmp_path: Path) -> None:
    """repr, str, dict and JSON of the settings hide URLs."""
    found = _load(tmp_path, SMALLEST + f"redis: {{url: 'redis://:{SECRET}@h:6379/0'}}\n")
    shown = f"{found} {found!r} {found.model_dump()} {found.model_dump_json()}"
    assert SECRET not in shown


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://one:26379,two:26379/main",
        "redis+sentinel://:pass@one,[::1]:26379/main/2",
        "unix:///run/redis.sock",
        "rediss://user:pass@host/0",
    ],
)
def test_redis_urls_of_every_form(url: str) -> None:
    """Also several sentinels, as the documentation of the form says."""
    assert RedisSettings.model_validate({"url": url}).url is not None


@pytest.mark.parametrize(
    "url",
    ["redis+sentinel://one,/main", "redis+sentinel://one:0,two/main", "redis://[::1", "unix:"],
)
def test_redis_urls_that_name_no_place(url: str) -> None:
    """An empty host or port 0 among several is noticed."""
    with pytest.raises(ValidationError, match="is not a URL of the form"):
        RedisSettings.model_validate({"url": url})


def test_settings_are_frozen(tmp_path: Path) -> None:
    """Nobody changes the configuration of a running service."""
    found = _load(tmp_path, SMALLEST)
    with pytest.raises(ValidationError):
        found.dry_run = True  # type: ignore[misc]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            "    multicall: 0xCA11BDE05977b3631167028862be2a173976ca11",
            "has a wrong checksum (EIP-55)",
        ),
        ("    multicall: 0x12", "multicall: must be an address, 0x and 40 hex digits (got '0x12')"),
        ("    multicall: 12", "chains.alpha.multicall: must be text: put it in quotes (got 12)"),
        ("    fees:", "chains.alpha.fees: must be a mapping of keys to values (got nothing)"),
        ("    fees: {max_fee_gwei: nan}", "max_fee_gwei: must be a finite number (got 'nan')"),
        (
            "    fees: {max_fee_gwei: 30000000000}",
            "max_fee_gwei: must be less than or equal to 1000000000 (got 30000000000)",
        ),
        (
            "    finality: finalized",
            "finality: must be a mapping of keys to values (got 'finalized",
        ),
        ("    quorum: true", "chains.alpha.quorum: must not be true or false (got true)"),
        ("    quorum: 1.5", "chains.alpha.quorum: must be a whole number (got 1.5)"),
        ("    max_log_range: 1e99", "max_log_range: must be a smaller number (got 1e+99)"),
        ("    signers: key.txt", "chains.alpha.signers: must be a list (got 'key.txt')"),
        ("    timeout_s: -1", "chains.alpha.timeout_s: must be greater than 0 (got -1)"),
        ("redis: {timeout_s: 1e300}", "redis.timeout_s: must be less than or equal to 3600"),
        ("redis: {timeout_s: 1e999}", "redis.timeout_s: must be a finite number (got inf)"),
        ("redis: {cluster: maybe}", "redis.cluster: must be true or false (got 'maybe')"),
        ("redis: {url_file: [x]}", "redis.url_file: must be the path of a file"),
        ("http: 8080", "http: must be a mapping of keys to values (got 8080)"),
        ("http: {port: '8 0'}", "http.port: must be a whole number (got '8 0')"),
        ("retention_s: 2024-01-01", "retention_s: must be a number (got '2024-01-01')"),
        ("data_dir: 5", "data_dir: must be a path: put it in quotes (got 5)"),
        ("1: 2", ": 1: is a key that is no text: put it in quotes (got 1)"),
        ("bridges: {main: }", "bridges.main: must be a mapping of keys to values (got nothing)"),
        ("bridges: {1: {protocol: x}}", "bridges.1: must be text: put it in quotes (got 1)"),
        (
            'bridges: {"a\\nb": {protocol: x}}',
            r"bridges.'a\nb': must be 1 to 48 lower-case letters",
        ),
        ("policy: {deny: [null]}", "policy.deny[0]: must be a mapping of keys to values"),
        ("policy: {deny: [{sender: 0xABC}]}", "must be 0x and 40 hex digits (an address) or 64"),
        ("policy: {deny: [{message_id: 0xAB}]}", "message_id: must be 0x and 64 hex digits (got"),
        ("policy: {deny: [{min_body: 5, max_body: 3}]}", "min_body 5 is more than max_body 3"),
        ("policy: {deny: [{body_regex: '(?=a)'}]}", "regular expression of RE2: invalid perl"),
        (
            "policy: {deny: [{origin: gamma}]}",
            "neither the name of a chain in `chains` nor a chain",
        ),
        ("    quorom: 1", "chains.alpha.quorom: unknown key; did you mean `quorum`?"),
        (
            "    fees: {max_fee_gwie: 1}",
            "fees.max_fee_gwie: unknown key; did you mean `max_fee_gwei`",
        ),
        ("    lane: {zzz: 1}", "chains.alpha.lane.zzz: unknown key; known keys: batch_calls,"),
        ("    quorum: 2", "chains.alpha: quorum 2 needs as many endpoints, there are 1"),
        ("    quorum: zero", "chains.alpha.quorum: must be a whole number (got 'zero')"),
        ("    finality: {tag: final}", "must be 'finalized', 'safe' or 'latest' (got 'final')"),
        ("    finality: {tag: safe, depth: 3}", "give exactly one of tag and depth"),
        ("    finality: {}", "give exactly one of tag and depth"),
        ("    finality: {depth: -1}", "chains.alpha.finality.depth: "),
        ("    fees: {bump_percent: 10}", "greater than or equal to 12.5 (got 10)"),
        ("    multicall: 0x12", "chains.alpha.multicall: "),
        ("    poll_s: .inf", "chains.alpha.poll_s"),
        ("    block_time_s: x", "chains.alpha.block_time_s"),
        (
            "    signers: [{}]",
            "give exactly one of key_file, key_env, keystore, aws_kms, gcp_kms and web3signer",
        ),
        ("    signers: [{keystore: k}]", "keystore and keystore_password_file go together"),
        ("    signers: [{key_file: a, key_env: B}]", "give exactly one of key_file"),
        ("    id: 2", "line 6, column 5: the key 'id' occurs twice"),
        (f"retention_s: {'9' * 5000}", "column 14: a number of more than 100 digits; is it text?"),
        ("    multicall: '0x" + "00" * 20 + "'", "multicall: must not be the zero address"),
        (hook("https://h/", secret="short"), "webhooks[0].secret: must have at least 32 charact"),
        (hook("https://127.0.0.1:1/"), "webhooks[0]: url leads to an address that is not public"),
        (hook("https://[::ffff:10.0.0.1]/"), "not public, where nothing would be posted: set"),
        (hook("https://169.254.169.254/"), "set allow_private if it is meant"),
        ("redis: {urll: x}", "redis.urll: unknown key; did you mean `url`?"),
        ("redis: {url: 'http://h'}", "redis.url: is not a URL of the form redis://"),
        ("http: {port: 70000}", "http.port: "),
        ("log: {format: xml}", "log.format: "),
        ("bridges: {main: {}}", "bridges.main: has no `protocol:`"),
        ("bridges: {'Main Net': {protocol: x}}", "bridges.Main Net"),
        ("policy: {deny: [{body_regex: '('}]}", "is not a regular expression"),
        ("policy: {deny: [{sender: 'bob'}]}", "policy.deny[0].sender: "),
        ("policy: {deny: [{origin: beta}]}", "policy.deny[0].origin: "),
        ("policy: {fee: [{fraction: '1/0'}]}", "policy.fee[0].fraction: "),
        ("policy: {fee: [{kind: free}]}", "policy.fee[0].kind: "),
        ("chain: {}", "chain: unknown key; did you mean `chains`?"),
    ],
)
def test_mistakes_are_named_with_the_way_out(tmp_path: Path, edit: str, words: str) -> None:
    """Field, value and remedy of each mistake stand in the error."""
    assert words in _refusal(tmp_path, SMALLEST + edit + "\n")


@pytest.mark.parametrize(
    "text",
    [
        SMALLEST.replace("https:", "htp:"),
        SMALLEST.replace("url:", "urll:"),
        SMALLEST + "    explorer: ${KEY}\n",
        SMALLEST + "    signers: [{key_env: '0x${KEY}${KEY}${KEY}'}]\n",
        SMALLEST + "instance: 'a b ${KEY}${KEY}'\n",
        SMALLEST + "redis: {url: 'http://${KEY}'}\n",
    ],
)
def test_wrong_secrets_are_not_shown(tmp_path: Path, text: str) -> None:
    """A secret in the wrong place or form is refused without being repeated."""
    assert _refusal(tmp_path, text.replace("${KEY}", SECRET))


def test_same_id_or_url_twice(tmp_path: Path) -> None:
    """Two chains of one id, or one endpoint counted twice in a quorum, are refused."""
    twice = SMALLEST + "  beta: {id: 1, endpoints: [{url: 'http://h'}]}\n"
    assert "have the same id 1: correct one, or take it out" in _refusal(tmp_path, twice)
    doubled = "chains: {a: {id: 1, quorum: 2, endpoints: [{url: 'http://h'}, {url: 'http://h'}]}}"
    assert "two endpoints have the same url" in _refusal(tmp_path, doubled)


def test_environment_references(tmp_path: Path) -> None:
    """`${NAME}` and `${NAME:-default}` are replaced in any string, numbers included."""
    text = SMALLEST + "http: {port: '${PORT}', host: '${HOST:-0.0.0.0}'}\ninstance: a${X:-}b\n"
    found = _load(tmp_path, text, {"KEY": SECRET, "PORT": "9000"})
    assert (found.http.port, found.http.host, found.instance) == (9000, "0.0.0.0", "ab")
    found = _load(tmp_path, text, {"KEY": SECRET, "PORT": "1", "HOST": "::1", "X": "x"})
    assert (found.http.host, found.instance) == ("::1", "axb")
    message = _refusal(tmp_path, text, {"KEY": SECRET})
    assert "http.port: ${PORT} is not set in the environment" in message


def test_values_from_the_environment_are_not_expanded_again(tmp_path: Path) -> None:
    """What a variable holds is taken literally."""
    found = _load(tmp_path, SMALLEST, {"KEY": "${OTHER}"})
    assert found.chains["alpha"].endpoints[0].url.get_secret_value().endswith("${OTHER}")


def test_secret_files(tmp_path: Path) -> None:
    """`url_file` and `ws_url_file` stand for the secrets in them."""
    (tmp_path / "url").write_text(f"https://node.example/{SECRET}\n")
    (tmp_path / "ws").write_text(f"wss://node.example/{SECRET}\n")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "big").write_bytes(b"x" * (4 * 1024 * 1024 + 1))

    def text(*fields: str) -> str:
        return f"chains: {{a: {{id: 1, endpoints: [{{{', '.join(fields)}}}]}}}}"

    good = text(f"url_file: {tmp_path}/url", f"ws_url_file: {tmp_path}/ws")
    (endpoint,) = _load(tmp_path, good).chains["a"].endpoints
    assert endpoint.url.get_secret_value() == f"https://node.example/{SECRET}"
    assert endpoint.ws_url is not None
    both = text(f"url_file: {tmp_path}/url", "url: 'http://h'")
    assert "give url or url_file, not both" in _refusal(tmp_path, both)
    assert "is empty" in _refusal(tmp_path, text(f"url_file: {tmp_path}/empty"))
    assert "larger than" in _refusal(tmp_path, text(f"url_file: {tmp_path}/big"))
    missing = _refusal(tmp_path, text(f"url_file: {tmp_path}/none"))
    assert "chains.a.endpoints[0].url_file" in missing
    assert "No such file" in missing


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty; it must be a mapping with the key `chains`"),
        (b"- a", "must be a mapping"),
        (b"a: [", "not YAML: line 1"),
        (b"a: &x [*x]\nchains: {}", "line 1, column 4: refers to itself"),
        (b"a: " + b"[" * 40 + b"]" * 40, "nested too deeply"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"chains: \x00", "holds the character #x00"),
        (b"x" * (4 * 1024 * 1024 + 1), "larger than"),
        (b"a: !!python/object/apply:os.system [x]", "not YAML"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, content: bytes, words: str) -> None:
    """Anything that is not a YAML mapping is refused by name, and nothing in it is executed."""
    path = tmp_path / "relayer.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigInvalid) as caught:
        load_settings(path, {})
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ConfigInvalid, match="No such file"):
        load_settings(tmp_path / "none.yaml", {})


def test_a_file_without_end_is_refused() -> None:
    """A device or a pipe that never ends is read up to the limit and no further."""
    with pytest.raises(ConfigInvalid, match="larger than"):
        load_settings(Path("/dev/zero"), {})


LEVELS = range(1, 10)
ALIASES = "a0: &a0 [x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in LEVELS
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in LEVELS
)


@pytest.mark.parametrize("text", [ALIASES, MERGES], ids=["aliases", "merges"])
def test_an_alias_bomb_is_refused_at_once(tmp_path: Path, text: str) -> None:
    """A few lines that stand for billions of values cost neither time nor memory."""
    before = time.process_time()
    assert "aliases stand for more than 100000 values" in _refusal(tmp_path, text)
    assert time.process_time() - before < 1


def test_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    """What people use aliases for: one section for several chains, with changes on top."""
    text = """
chains:
  alpha: &usual
    id: 1
    endpoints: [{url: "https://node.example/one"}]
    fees: &fees {max_fee_gwei: 7, tip_gwei: 1}
  beta:
    <<: *usual
    id: 2
    fees: {<<: *fees, tip_gwei: 2}
  gamma: {<<: [{id: 3}, *usual]}
"""
    chains = _load(tmp_path, text).chains
    assert {name: chain.id for name, chain in chains.items()} == {"alpha": 1, "beta": 2, "gamma": 3}
    assert (chains["beta"].fees.max_fee_gwei, chains["beta"].fees.tip_gwei) == (7, 2)


def test_a_merged_section_may_change_what_it_merged(tmp_path: Path) -> None:
    """A key given beside `<<` is no second time the same key, wherever its anchor stands."""
    text = """
bridges:
  one: {protocol: p, deep: {er: &inner {<<: {x: 1}, x: 2}}}
  two: {protocol: p, <<: *inner}
"""
    bridges = _load(tmp_path, SMALLEST + text).bridges
    assert bridges["one"]["deep"] == {"er": {"x": 2}}
    assert bridges["two"] == {"protocol": "p", "x": 2}


def test_plain_scalars_are_yaml_1_2(tmp_path: Path) -> None:
    """An unquoted address stays text, `no` is a word, 1_000 is a number."""
    text = SMALLEST + (
        "    multicall: 0xcA11bde05977b3631167028862bE2a173976CA11\n"
        "    max_log_range: 1_000\n"
        "instance: no\n"
        f"policy: {{deny: [{{bridge: on, sender: 0x{'ABCD' * 16}}}]}}\n"
    )
    found = _load(tmp_path, text)
    assert found.chains["alpha"].multicall == MULTICALL3
    assert found.chains["alpha"].max_log_range == 1000
    assert found.instance == "no"
    assert (found.policy.deny[0].bridge, found.policy.deny[0].sender) == ("on", "0x" + "abcd" * 16)


def test_rules_may_name_chains(tmp_path: Path) -> None:
    """A chain's name in a rule becomes its id; ids are taken as they are."""
    rules = "policy: {allow: [{origin: alpha, destination: 5}], fee: [{match: {origin: alpha}}]}\n"
    policy = _load(tmp_path, SMALLEST + rules).policy
    assert (policy.allow[0].origin, policy.allow[0].destination) == (1, 5)
    assert policy.fee[0].match is not None
    assert policy.fee[0].match.origin == 1


def test_bridges_keep_their_own_keys(tmp_path: Path) -> None:
    """A bridge's section is passed on as it is, its references replaced."""
    text = SMALLEST + "bridges: {main: {protocol: mine, key: '${KEY}', deep: [{a: 1}]}}\n"
    assert _load(tmp_path, text).bridges["main"] == {
        "protocol": "mine",
        "key": SECRET,
        "deep": [{"a": 1}],
    }


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")

    interval_s: float
    names: list[str] = []


def test_sections_of_protocols_are_explained_alike() -> None:
    """`parse_section` gives a protocol's own model the same errors."""
    assert parse_section(_Section, {"interval_s": 1}, "bridges.main").interval_s == 1
    with pytest.raises(ConfigInvalid) as caught:
        parse_section(_Section, {"intervals": 1, "names": [1]}, "bridges.main")
    text = str(caught.value)
    assert "bridges.main.interval_s: is required" in text
    assert "bridges.main.intervals: unknown key; did you mean `interval_s`?" in text
    assert "bridges.main.names[0]: must be text: put it in quotes (got 1)" in text
    assert len(text.splitlines()) == 3
    assert text.splitlines() == [
        str(problem)
        for problem in problems_in(_Section, {"intervals": 1, "names": [1]}, "bridges.main")
    ]
    assert problems_in(_Section, {"interval_s": 1}) == []


def test_json_schema_knows_every_key() -> None:
    """Editors get all fields, the files that stand for secrets included."""
    schema = json_schema()
    json.dumps(schema)
    assert set(schema["properties"]) == set(Settings.model_fields)
    endpoint = schema["$defs"]["EndpointSettings"]
    assert {"url", "url_file", "ws_url_file"} <= set(endpoint["properties"])
    assert endpoint["oneOf"] == [{"required": ["url"]}, {"required": ["url_file"]}]
    assert set(schema["$defs"]["ChainSettings"]["properties"]) == set(ChainSettings.model_fields)


def test_example_loads_and_explains_every_key(tmp_path: Path) -> None:
    """The commented example is valid, and no key of the engine is missing from it."""
    environ = {"ALPHA_RPC_KEY": SECRET, "SHOP_WEBHOOK_SECRET": SECRET * 2}
    found = load_settings(EXAMPLE, environ)
    assert len(found.chains) == 2
    text = EXAMPLE.read_text()
    for name, model in _models(Settings).items():
        for field in model.model_fields:
            assert f"{field}:" in text, f"{name}.{field} is not in the example"


def _models(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The model and every model its fields hold."""
    found: dict[str, type[BaseModel]] = {model.__name__: model}
    schema: dict[str, Any] = model.model_json_schema()
    import relayer.settings as module

    for name in (name for name, shape in schema["$defs"].items() if "properties" in shape):
        found[name] = getattr(module, name)
    return found


def test_signer_settings_hold_places_not_keys() -> None:
    """A key pasted where a variable's name belongs is refused."""
    with pytest.raises(ValidationError):
        SignerSettings(key_env="0x" + "11" * 32)


def test_example_is_plain_yaml() -> None:
    """Standard YAML tools read it too."""
    assert isinstance(yaml.safe_load(EXAMPLE.read_text()), dict)


@pytest.fixture
def much_recursion() -> Iterator[None]:
    """As in a relayer that runs: a library raises the limit beyond what the stack can hold."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.parametrize(
    "text",
    ["[" * 20_000, "[" * 20_000 + "]" * 20_000, "? [a]\n: 3\n", "chains: " + "9" * 5000],
    ids=["deep", "balanced", "key", "digits"],
)
@pytest.mark.usefixtures("much_recursion")
def test_yaml_that_breaks_the_parser_is_a_config_error(tmp_path: Path, text: str) -> None:
    """Whatever the file holds, the answer names it and is never a traceback."""
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigInvalid, match=r"broken\.yaml"):
        load_settings(path, {})
