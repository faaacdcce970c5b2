"""The command line without any chain or store: help, errors, exit codes, offline commands."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from relayer import __version__, protocols
from relayer.adapter import Call, Clock, Done, Refuse, Step, Wait
from relayer.cli import main
from relayer.cli.checks import full_schema
from relayer.cli.invocation import CommonGroup, Invocation, common, exit_code
from relayer.cli.service import step_view
from relayer.errors import (
    CallReverted,
    ChainMismatch,
    ConfigInvalid,
    EndpointDown,
    IllegalTransition,
    LeaseLost,
    RelayerError,
    ReorgTooDeep,
    StoreUnavailable,
    UnknownRecord,
)
from relayer.message import Address, BridgeName, Gate, Reason, Timestamp
from relayer.offline import offline_findings
from relayer.settings import load_settings, secrets_in
from tests.unit.sample_records import id_of, tx_of

pytestmark = pytest.mark.usefixtures("own_logging")

CONFIGS = Path(__file__).parents[2] / "config"
SECRET_URL = "https://rpc.example/v2/0123456789abcdef0123"

CONFIG: dict[str, Any] = {
    "chains": {
        "one": {"id": 1, "endpoints": [{"url": SECRET_URL}]},
        "two": {"id": 2, "endpoints": [{"url": "http://127.0.0.1:1"}]},
    },
}


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., str]:
    """Writes a configuration, with changes, and returns its path."""

    def write(**changes: Any) -> str:
        path = tmp_path / "relayer.yaml"
        path.write_text(yaml.safe_dump({**CONFIG, "data_dir": str(tmp_path), **changes}))
        return str(path)

    return write


def call(*arguments: str, env: dict[str, str | None] | None = None) -> Result:
    """Run the command line as a user would."""
    return CliRunner().invoke(main, list(arguments), env={"RELAYER_CONFIG": None, **(env or {})})


def test_every_promised_command_is_there() -> None:
    """The list of commands is a contract."""
    promised = (
        "run demo check-config list show retry hold release drop backfill prove routes"
        " protocols schema version health pause resume paused dead audit config log-level reload"
        " doctor completion keys webhooks backfills"
    )
    assert set(promised.split()) == set(main.commands)


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_explains_itself_and_takes_the_common_options(name: str) -> None:
    """--help works, has a sentence, and --config, --json and --debug follow every command."""
    result = call(name, "--help")
    assert result.exit_code == 0
    assert main.commands[name].help
    for option in ("--config", "--json", "--debug"):
        assert option in result.output


def test_version_in_both_forms() -> None:
    """For people and for programs."""
    assert call("version").output.strip() == __version__
    assert call("--version").output.strip() == __version__
    assert json.loads(call("version", "--json").output) == {"version": __version__}
    assert json.loads(call("--json", "version").output) == {"version": __version__}


def test_a_missing_configuration_names_the_way_out() -> None:
    """One line on standard error, exit code 2."""
    result = call("routes", "--config", "/nowhere/relayer.yaml")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == (
        "error: /nowhere/relayer.yaml: no such file; give --config FILE or set RELAYER_CONFIG\n"
    )


def test_errors_are_json_when_json_is_asked_for() -> None:
    """A program reads the label and the exit code."""
    result = call("--json", "routes", "--config", "/nowhere.yaml")
    body = json.loads(result.stderr)
    assert (body["error"]["code"], body["error"]["exit"]) == ("config_invalid", 2)
    assert result.stdout == ""


def test_a_wrong_field_is_named_with_its_way_out(config: Callable[..., str]) -> None:
    """Unknown key: a suggestion; wrong value: the field and the value."""
    result = call("check-config", "--config", config(htpp={"port": 1}))
    assert result.exit_code == 2
    assert "htpp: unknown key; did you mean `http`?" in result.stderr
    result = call("check-config", "--config", config(http={"port": 70000}))
    assert "http.port" in result.stderr
    assert "70000" in result.stderr
    assert "Traceback" not in result.stderr


def test_no_error_shows_a_secret(config: Callable[..., str]) -> None:
    """The URL of an endpoint is a secret also when its section is wrong."""
    chains = {"one": {"id": "x", "endpoints": [{"url": SECRET_URL, "priority": "high"}]}}
    result = call("check-config", "--config", config(chains=chains))
    assert result.exit_code == 2
    assert "0123456789abcdef0123" not in result.output
    assert "chains.one.id" in result.stderr


def test_an_unknown_protocol_is_a_finding(config: Callable[..., str]) -> None:
    """check-config names the bridge, the word and that it is wrong."""
    path = config(bridges={"odd": {"protocol": "telepathy"}})
    result = call("--json", "check-config", "--config", path)
    assert result.exit_code == 2
    found = {one["subject"]: one for one in json.loads(result.stdout)["findings"]}
    assert found["bridges.odd"]["ok"] is False
    assert "telepathy" in found["bridges.odd"]["text"]
    assert "WRONG" in call("check-config", "--config", path).stdout


def bridge(**changes: Any) -> dict[str, Any]:
    """A section between the two chains, with changes to the first chain's part."""
    section = {
        "protocol": "hyperlane",
        "chains": {
            name: {
                "domain": number,
                "mailbox": "0x" + "11" * 20,
                "merkle_tree_hook": "0x" + "12" * 20,
                "validator_announce": "0x" + "13" * 20,
            }
            for number, name in enumerate(("one", "two"), 1)
        },
    }
    section["chains"]["one"] |= changes
    return section


def test_each_mistake_of_a_bridge_is_a_line_of_its_own(config: Callable[..., str]) -> None:
    """Every wrong field has its path, its value and the way out, for people and for programs."""
    wrong = bridge(domain=-1, mailbox="0x12", igps=[])
    path = config(bridges={"main": {**wrong, "routes": "some"}})
    result = call("--json", "check-config", "--config", path)
    assert result.exit_code == 2
    findings = json.loads(result.stdout)["findings"]
    at = "bridges.main.chains.one"
    assert [(f["subject"], f["text"]) for f in findings if not f["ok"]] == [
        (f"{at}.domain", "must be greater than or equal to 1 (got -1)"),
        (f"{at}.mailbox", "must be an address, 0x and 40 hex digits (got '0x12')"),
        (f"{at}.igps", "unknown key; did you mean `igp`?"),
        ("bridges.main.routes", "must be 'all' or must be a list (got 'some')"),
    ]
    lines = [line for line in call("check-config", "--config", path).stdout.splitlines() if line]
    assert sum("WRONG" in line for line in lines) == 4
    assert sum(at in line for line in lines) == 3


def test_a_bridge_that_cannot_be_built_names_its_field(config: Callable[..., str]) -> None:
    """What only building finds is told like the rest."""
    wrong = bridge()
    wrong["chains"]["three"] = wrong["chains"].pop("two")
    path = config(bridges={"main": wrong})
    findings = json.loads(call("--json", "check-config", "--config", path).stdout)["findings"]
    assert [(f["subject"], f["text"]) for f in findings if not f["ok"]] == [
        ("bridges.main.chains.three", "no chain 'three'; configured are one, two")
    ]


def test_each_mistake_of_the_file_is_a_line_of_its_own(config: Callable[..., str]) -> None:
    """Programs get them apart too."""
    path = config(http={"port": -1}, log={"level": "loud"}, dry_run="perhaps")
    said = call("check-config", "--config", path).stderr.splitlines()
    assert [line.removeprefix(f"error: {path}: ") for line in said] == [
        "http.port: must be greater than or equal to 0 (got -1)",
        "log.level: must be 'debug', 'info', 'warning' or 'error' (got 'loud')",
        "dry_run: must be true or false (got 'perhaps')",
    ]
    error = json.loads(call("--json", "check-config", "--config", path).stderr)["error"]
    assert [f"error: {line}" for line in error["lines"]] == said


def test_a_configuration_without_bridges_is_not_well(config: Callable[..., str]) -> None:
    """It reads well, and would do nothing."""
    settings = load_settings(Path(config()), {})
    wrong = [finding.subject for finding in offline_findings(settings) if not finding.ok]
    assert wrong == ["bridges"]


def test_the_option_wins_over_the_environment(config: Callable[..., str]) -> None:
    """RELAYER_CONFIG is the default; --config counts before and after the command."""
    good, bad = config(), "/nowhere.yaml"
    assert call("routes", env={"RELAYER_CONFIG": good}).exit_code == 0
    assert call("routes", env={"RELAYER_CONFIG": bad}).exit_code == 2
    assert call("--config", good, "routes", env={"RELAYER_CONFIG": bad}).exit_code == 0
    assert call("routes", "--config", good, env={"RELAYER_CONFIG": bad}).exit_code == 0


@pytest.mark.parametrize("command", ["hold", "release", "retry", "drop", "prove", "show"])
def test_a_malformed_id_is_wrong_usage(command: str) -> None:
    """The id is checked before the configuration is even read."""
    result = call(command, "0x1234")
    assert result.exit_code == 2
    assert "'0x1234' is not 0x and 64 hex digits" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("list", "--status", "lost"), "'lost' is not one of"),
        (("list", "--reason", "bored"), "'bored' is not one of"),
        (("list", "--route", "here"), "'here' is not <bridge>:<origin id>><destination id>"),
        (("list", "--limit", "0"), "--limit"),
        (("hold",), "give ids of messages, or filters such as --status"),
        (("backfill", "--from", "1", "--to", "2"), "--chain"),
        (("backfill", "--chain", "one"), "give --from and --to, or --tx"),
        (("backfill", "--chain", "one", "--from", "1"), "give --from and --to, or --tx"),
        (("backfill", "--chain", "one", "--from", "9", "--to", "2"), "is after --to 2"),
        (("backfill", "--chain", "one", "--from", "-1", "--to", "2"), "--from"),
        (("backfill", "--chain", "one", "--tx", tx_of(1), "--to", "2"), "not both"),
        (("demo", "--messages", "0"), "--messages"),
        (("teleport",), "No such command 'teleport'; see `relayer --help`"),
        (("shwo", id_of(1)), "Did you mean 'show'?"),
        (("--zzz",), "No such option '--zzz'"),
        (("list", "--limt", "3"), "'--limt'. Did you mean '--limit'?; see `relayer list --help`"),
        (("list", "--limit", "many"), "'many' is not a whole number from 1 to 1000; see"),
        (("routes", "extra"), "unexpected extra argument (extra)"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: tuple[str, ...], words: str) -> None:
    """Every wrong argument is named, with what is expected; programs get it as JSON."""
    result = call(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    said = call("--json", *arguments)
    error = json.loads(said.stderr)["error"]
    assert (said.exit_code, error["code"], error["exit"]) == (2, "usage", 2)
    assert words in error["text"]


def test_an_option_given_later_still_makes_errors_json() -> None:
    """`--json` counts wherever it stands."""
    result = call("list", "--limt", "0", "--json")
    assert json.loads(result.stderr)["error"]["exit"] == 2


def test_without_a_command_the_help_is_shown() -> None:
    """A newcomer sees what there is."""
    result = call()
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: relayer")
    assert "check-config" in result.stderr


def test_too_many_ids_are_refused(config: Callable[..., str]) -> None:
    """One call stays bounded."""
    ids = [id_of(number) for number in range(1001)]
    result = call("--config", config(), "hold", *ids)
    assert result.exit_code == 2
    assert "at most 1000 messages" in result.stderr


def test_the_schema_knows_every_section() -> None:
    """`relayer schema` is JSON that an editor can use: references resolve."""
    printed = json.loads(call("schema").output)
    assert printed == json.loads(json.dumps(full_schema()))
    assert {"chains", "bridges", "policy", "redis"} <= set(printed["properties"])

    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            for key, value in node.items():
                yield from [value] if key == "$ref" else references(value)
        elif isinstance(node, list):
            for item in node:
                yield from references(item)

    for reference in references(printed):
        assert reference.removeprefix("#/$defs/") in printed["$defs"]


def test_the_schema_types_each_bridge_by_its_protocol() -> None:
    """What a section may hold follows from its `protocol`, and unknown keys are wrong there too."""
    printed = full_schema()
    bridges = printed["properties"]["bridges"]
    (section,) = bridges["patternProperties"].values()
    assert "additionalProperties" not in bridges
    kinds = {
        choice["if"]["properties"]["protocol"]["const"]: choice["then"]["$ref"]
        for choice in section["allOf"]
    }
    assert section["required"] == ["protocol"]
    assert (
        set(kinds) == set(protocols.available()) == set(section["properties"]["protocol"]["enum"])
    )
    for name, reference in kinds.items():
        kind = printed["$defs"][reference.removeprefix("#/$defs/")]
        fields = protocols.load(name).settings.model_fields
        assert set(kind["properties"]) == {"protocol", *fields}
        assert kind["properties"]["protocol"] == {"const": name}
        assert kind["additionalProperties"] is False
        assert "protocol" in kind["required"]


def test_secrets_are_found_however_deep(config: Callable[..., str]) -> None:
    """Lists, dictionaries and models are searched."""
    settings = load_settings(Path(config(redis={"url": "redis://:hunter2@db"})), {})
    assert set(secrets_in(settings)) == {
        SECRET_URL,
        "http://127.0.0.1:1",
        "redis://:hunter2@db",
    }


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigInvalid("x"), 2),
        (ChainMismatch("x"), 2),
        (UnknownRecord("x"), 3),
        (IllegalTransition("x"), 4),
        (StoreUnavailable("x"), 5),
        (EndpointDown("e", "x"), 5),
        (LeaseLost("x"), 5),
        (CallReverted("x"), 1),
        (ReorgTooDeep("x"), 1),
        (RelayerError("x"), 1),
    ],
)
def test_exit_codes_follow_the_error_tree(error: RelayerError, code: int) -> None:
    """Documented codes, whatever the command."""
    assert exit_code(error) == code


def failing(error: Exception) -> click.Group:
    """A command line whose only command raises `error`."""

    @click.group(cls=CommonGroup)
    @common
    def group() -> None:
        pass

    @group.command()
    @common
    def boom() -> None:
        raise error

    return group


def test_errors_of_a_task_group_are_told_like_others() -> None:
    """What the service raises comes wrapped; the user reads the cause."""
    wrapped = ExceptionGroup("tasks", [ExceptionGroup("x", [ConfigInvalid("http: port taken")])])
    result = CliRunner().invoke(failing(wrapped), ["boom"])
    assert (result.exit_code, result.stderr) == (2, "error: http: port taken\n")


def test_a_bug_is_one_line_unless_debug() -> None:
    """No traceback by default; `--debug` lets it through."""
    group = failing(ZeroDivisionError("oops at https://rpc.example/v2/secretkey"))
    result = CliRunner().invoke(group, ["boom"])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: internal error: ZeroDivisionError: oops")
    assert result.stderr.count("\n") == 1
    assert "secretkey" not in result.stderr
    result = CliRunner().invoke(group, ["boom", "--debug"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_hostile_errors_stay_printable() -> None:
    """A revert string in an error cannot drive the terminal."""
    result = CliRunner().invoke(failing(UnknownRecord("no \x1b[2Jsuch\rthing")), ["boom"])
    assert result.stderr.splitlines()
    assert "\x1b" not in result.stderr
    assert "\r" not in result.stderr
    assert result.exit_code == 3


MESSAGE = id_of(1)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (
            Wait(
                Reason.AWAITING_ROOT,
                "soon",
                gate=Gate(BridgeName("b"), "g"),
                gate_value=2**60,
                clocks=(Clock("challenge", Timestamp(5.0)),),
            ),
            {"step": "wait", "gate": "b|g", "gate_value": str(2**60)},
        ),
        (Done("seen"), {"step": "done", "detail": "seen"}),
        (Refuse(Reason.PAUSED, "x", dead=True), {"step": "refuse", "dead": True}),
        (
            Call(
                MESSAGE,
                Address("0x" + "11" * 20),
                b"\x01\x02",
                access_list=((Address("0x" + "22" * 20), (b"\x00" * 32,)),),
            ),
            {
                "step": "call",
                "data": "0x0102",
                "value_wei": "0",
                "access_list": [{"address": "0x" + "22" * 20, "storageKeys": ["0x" + "00" * 32]}],
            },
        ),
    ],
)
def test_steps_are_json(step: Step, expected: dict[str, Any]) -> None:
    """`prove --json` says all four answers in a form that programs can send on."""
    view = step_view(step)
    assert {key: view[key] for key in expected} == expected
    json.dumps(view)


def test_common_options_do_not_leak_between_calls() -> None:
    """Each call has its own options."""
    assert json.loads(call("version", "--json").output)
    assert call("version").output.strip() == __version__
    assert Invocation().as_json is False


@pytest.mark.parametrize("verb", ["retry", "hold", "release", "drop"])
def test_verbs_act_on_nothing_by_default(config: Callable[..., str], verb: str) -> None:
    """Neither ids nor filters is wrong usage, and so are both."""
    for arguments in ((), ("--dry-run",), (id_of(1), "--status", "dead")):
        result = call("--config", config(), verb, *arguments)
        assert (result.exit_code, "give ids of messages, or filters" in result.stderr) == (2, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(shell: str) -> None:
    """It names our command and asks it for what may follow."""
    script = call("completion", shell).stdout
    assert "_RELAYER_COMPLETE=" in script
    assert json.loads(call("completion", shell, "--json").stdout)["script"].strip() in script


def test_completion_knows_commands_and_values() -> None:
    """What bash would be told after `relayer retry --status d`."""
    env = {"_RELAYER_COMPLETE": "bash_complete", "COMP_CWORD": "3"}
    for words, wanted in (("relayer pa", "pause"), ("relayer retry --status d", "dead")):
        words_env = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
        result = CliRunner().invoke(main, [], env=env | words_env, prog_name="relayer")
        assert wanted in result.output


def shipped(name: str, *command: str) -> Result:
    """What a command says of a configuration that we ship."""
    return call("--json", *command, "--config", str(CONFIGS / name))


@pytest.mark.parametrize("name", sorted(one.name for one in CONFIGS.glob("mainnet-*.yaml")))
def test_every_shipped_mainnet_configuration_is_well(name: str) -> None:
    """Every shipped address, domain and option is accepted, and all chains are connected."""
    result = shipped(name, "check-config")
    assert result.exit_code == 0, result.output


def test_the_shipped_hyperlane_configuration_joins_all_its_chains() -> None:
    """Five chains, every route between them."""
    listed = json.loads(shipped("mainnet-hyperlane.yaml", "routes").stdout)["routes"]
    assert len(listed) == 5 * 4
    assert {"route": "hyperlane:8453>10", "protocol": "hyperlane"}.items() <= next(
        row for row in listed if (row["origin"], row["destination"]) == ("base", "optimism")
    ).items()


def test_the_shipped_rollups_configuration_has_all_their_routes() -> None:
    """Withdrawals of three rollups, and both directions of the fourth."""
    listed = json.loads(shipped("mainnet-rollups.yaml", "routes").stdout)["routes"]
    assert {row["route"] for row in listed} == {
        "arbitrum-one:42161>1",
        "arbitrum-nova:42170>1",
        "scroll:534352>1",
        "linea:59144>1",
        "linea:1>59144",
    }


def test_the_shipped_op_configuration_has_the_withdrawals_of_its_chains() -> None:
    """Each chain's withdrawals to layer 1."""
    listed = json.loads(shipped("mainnet-op.yaml", "routes").stdout)["routes"]
    assert len(listed) == 8
    assert {row["destination"] for row in listed} == {"ethereum"}
    assert "base-withdrawals:8453>1" in {row["route"] for row in listed}


def test_the_published_schema_is_the_configurations() -> None:
    """Editors check a configuration by it; `relayer schema` prints what must be in the file."""
    published = json.loads((CONFIGS / "relayer.schema.json").read_text(encoding="utf-8"))
    assert published == json.loads(json.dumps(full_schema()))


@pytest.mark.parametrize(
    "command",
    [
        ("protocols",),
        ("protocols", "--json"),
        ("schema",),
        ("completion", "bash"),
        ("--help",),
        ("list", "--help"),
        ("keys", "create", "-h"),
    ],
)
def test_an_output_that_takes_nothing_is_one_plain_error(command: tuple[str, ...]) -> None:
    """A full disk under `> file`, and nothing more from the interpreter's end."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "relayer", *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "cannot write the output: No space left on device" in line
    assert "internal" not in line


@pytest.mark.parametrize("command", [("protocols",), ("schema",), ("list", "--help")])
def test_a_closed_output_is_one_plain_error(command: tuple[str, ...]) -> None:
    """`>&-` leaves no stream at all, nor does `<&-`."""
    whole = ["sh", "-c", 'exec "$@" <&- >&-', "sh", sys.executable, "-m", "relayer", *command]
    done = subprocess.run(whole, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: cannot write the output: Bad file descriptor\n"
