"""`relayer keys`: keystores are made for their owner alone, and nothing but addresses is told."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from eth_account import Account

from relayer.chains.signers import LocalSigner
from relayer.cli import main

pytestmark = pytest.mark.usefixtures("own_logging")

KEY = "4b" * 32
ADDRESS = LocalSigner(bytes.fromhex(KEY)).address
OTHER = "0x" + "12" * 20


def keys(*arguments: str, env: dict[str, str | None] | None = None) -> Result:
    """`relayer keys ...` as a user would call it."""
    environ = {"RELAYER_CONFIG": None, **(env or {})}
    return CliRunner().invoke(main, ["keys", *arguments], env=environ)


@pytest.fixture
def password(tmp_path: Path) -> str:
    path = tmp_path / "password"
    path.write_text("correct horse\n")
    return str(path)


def test_create_makes_a_keystore_for_its_owner(tmp_path: Path, password: str) -> None:
    """Any wallet opens it with the password; nobody else on the machine may read it."""
    out = tmp_path / "key.json"
    made = keys("create", "--out", str(out), "--password-file", password, "--json")
    assert made.exit_code == 0, made.output
    told = json.loads(made.output)
    assert told["signers"] == [{"keystore": str(out), "keystore_password_file": password}]
    content = json.loads(out.read_text())
    secret = bytes(Account.decrypt(content, "correct horse"))
    assert (told["address"], told["file"]) == (LocalSigner(secret).address, str(out))
    assert content["version"] == 3
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert secret.hex() not in made.output
    shown = keys("address", str(out))
    assert shown.output.strip() == told["address"]
    checked = keys("address", str(out), "--password-file", password, "--json")
    assert json.loads(checked.output) == {
        "file": str(out),
        "address": told["address"],
        "checked": True,
    }


def test_create_gives_the_lines_that_name_the_key(
    tmp_path: Path, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pasted below a chain they are that chain's signer, whichever directory they are read from."""
    monkeypatch.chdir(tmp_path)
    made = keys("create", "--out", "a key.json", "--password-file", "password")
    assert made.exit_code == 0, made.output
    address, lines = made.output.split()[0], made.output.partition("    signers:")
    path = tmp_path / "relayer.yaml"
    endpoints = "endpoints: [{url: 'http://127.0.0.1:1'}]"
    path.write_text(f"chains:\n  sea:\n    id: 10\n    {endpoints}\n{''.join(lines[1:])}")
    monkeypatch.chdir("/")
    shown = keys("show", "--config", str(path), "--json")
    assert shown.exit_code == 0, shown.output
    (row,) = json.loads(shown.output)["signers"]
    assert (row["kind"], row["address"]) == ("keystore", address)


def test_create_overwrites_nothing(tmp_path: Path, password: str) -> None:
    """A file, or a link to nowhere, that is there already stays as it is."""
    out, link = tmp_path / "key.json", tmp_path / "link"
    out.write_text("precious")
    link.symlink_to(tmp_path / "nowhere")
    for taken in (out, link):
        refused = keys("create", "--out", str(taken), "--password-file", password)
        assert refused.exit_code == 2
        assert str(taken) in refused.output
    assert out.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


def test_create_needs_a_password(tmp_path: Path) -> None:
    """Where nobody can be asked a file must say it, and not an empty one."""
    out, empty = tmp_path / "key.json", tmp_path / "empty"
    empty.write_text("\n")
    short = tmp_path / "short"
    short.write_text("hunter2 2 2\n")
    for arguments, words in (
        ((), "give --password-file"),
        (("--password-file", str(empty)), f"{empty} is empty"),
        (("--password-file", str(tmp_path / "none")), "No such file"),
        (("--password-file", str(short)), "the password has 11 characters"),
    ):
        refused = keys("create", "--out", str(out), *arguments)
        assert refused.exit_code == 2
        assert words in refused.output
    assert not out.exists()
    lost = keys("create", "--out", str(tmp_path / "no" / "dir"), "--password-file", str(empty))
    assert lost.exit_code == 2


def test_address_of_hex_and_of_garbage(tmp_path: Path, password: str) -> None:
    """A file of hex digits is read; what is no key is named and not shown."""
    file = tmp_path / "key"
    file.write_text(f"0x{KEY}\n")
    assert keys("address", str(file)).output.strip() == ADDRESS
    for text in ("planted secret", '{"address": "planted"}', "{}", "[" * 5000, KEY + "planted"):
        file.write_text(text)
        refused = keys("address", str(file))
        assert refused.exit_code == 2
        assert "no keystore" in refused.output
        assert "planted" not in refused.output.replace(str(file), "")
        assert keys("address", str(file), "--password-file", password).exit_code == 2


def configuration(tmp_path: Path, *signers: dict[str, Any]) -> str:
    path = tmp_path / "relayer.yaml"
    sea = {"id": 10, "endpoints": [{"url": "http://127.0.0.1:1"}], "signers": list(signers)}
    path.write_text(yaml.safe_dump({"chains": {"sea": sea}}))
    return str(path)


def test_show_lists_what_is_known_offline(tmp_path: Path) -> None:
    """Local keys are read, others are known by what the configuration says of them."""
    url = "https://planted.example/planted-path"
    path = configuration(
        tmp_path,
        {"key_env": "SEA_KEY"},
        {"web3signer": {"url": url}, "address": OTHER},
        {"aws_kms": {"key_id": "alias/relayer"}},
    )
    shown = keys("show", "--config", path, "--json", env={"SEA_KEY": KEY})
    assert shown.exit_code == 0, shown.output
    rows = json.loads(shown.output)["signers"]
    assert [(one["signer"], one["kind"], one["address"]) for one in rows] == [
        ("chains.sea.signers[0]", "key_env", ADDRESS),
        ("chains.sea.signers[1]", "web3signer", OTHER),
        ("chains.sea.signers[2]", "aws_kms", None),
    ]
    assert {(one["chain"], one["chain_id"], one["balance_wei"]) for one in rows} == {
        ("sea", 10, None)
    }
    table = keys("show", "--config", path, env={"SEA_KEY": KEY})
    assert "unknown without --online" in table.output
    assert "balance" not in table.output
    for output in (shown.output, table.output):
        assert "planted" not in output
        assert KEY not in output


def test_show_says_what_is_missing(tmp_path: Path) -> None:
    """A key that cannot be read, or is another's, fails the command and names the field."""
    path = configuration(tmp_path, {"key_env": "SEA_KEY", "address": OTHER})
    absent = keys("show", "--config", path, env={"SEA_KEY": None})
    assert absent.exit_code == 1
    assert "SEA_KEY is not set" in absent.output
    wrong = keys("show", "--config", path, "--json", env={"SEA_KEY": KEY})
    assert wrong.exit_code == 1
    (row,) = json.loads(wrong.output)["signers"]
    assert f"the key is that of {ADDRESS}, not of {OTHER}" in row["problem"]


def test_check_config_knows_signers_offline(tmp_path: Path) -> None:
    """What can be said without asking anybody is said, and what is missing fails the check."""
    path = configuration(
        tmp_path,
        {"key_env": "SEA_KEY"},
        {"web3signer": {"url": "https://planted.example/planted"}, "address": OTHER},
    )
    runner = CliRunner()
    arguments = ["check-config", "--config", path, "--json"]
    found = json.loads(runner.invoke(main, arguments, env={"SEA_KEY": KEY}).output)["findings"]
    by_subject = {one["subject"]: one for one in found}
    assert by_subject["chains.sea.signers[0]"]["text"] == f"signs as {ADDRESS}"
    asked = by_subject["chains.sea.signers[1]"]["text"]
    assert asked == f"web3signer, asked with --online only: signs as {OTHER}"
    lacking = runner.invoke(main, arguments, env={"SEA_KEY": None})
    assert lacking.exit_code == 2
    bad = {one["subject"]: one for one in json.loads(lacking.output)["findings"]}
    assert bad["chains.sea.signers[0]"] == {
        "subject": "chains.sea.signers[0]",
        "ok": False,
        "warning": False,
        "text": "key_env: SEA_KEY is not set",
    }
