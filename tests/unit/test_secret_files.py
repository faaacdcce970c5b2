"""Files with secrets that everybody may read are told of, wherever a person looks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from relayer.chains.signers.local import load_local
from relayer.cli import main
from relayer.cli.acting import hider
from relayer.errors import ConfigInvalid
from relayer.settings import (
    exposed_files,
    fingerprints,
    held_secrets,
    load_settings,
    read_tokens,
)

FILES = {
    "key": "11" * 32,
    "keystore": "{}",
    "password": "guess me",
    "token": "a1" * 20,
    "redis": "redis://127.0.0.1:1/0",
    "rpc": "http://127.0.0.1:1",
    "hook": "a secret of at least 32 characters",
}
FIELDS = {
    "key": "chains.one.signers[0].key_file",
    "keystore": "chains.one.signers[1].keystore",
    "password": "chains.one.signers[1].keystore_password_file",
    "token": "operator.token_files[0]",
    "redis": "redis.url_file",
    "rpc": "chains.one.endpoints[0].url_file",
    "hook": "webhooks[0].secret_file",
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with one file of each kind, which their owner and group may read."""
    at = {name: str(tmp_path / name) for name in FILES}
    for name, text in FILES.items():
        Path(at[name]).write_text(text, encoding="ascii")
        Path(at[name]).chmod(0o440)
    whole: dict[str, Any] = {
        "redis": {"url_file": at["redis"]},
        "operator": {"token_files": [at["token"]]},
        "chains": {
            "one": {
                "id": 1,
                "endpoints": [{"url_file": at["rpc"]}],
                "signers": [
                    {"key_file": at["key"]},
                    {"keystore": at["keystore"], "keystore_password_file": at["password"]},
                ],
            }
        },
        "webhooks": [{"name": "shop", "url": "https://x.example/", "secret_file": at["hook"]}],
    }
    path = tmp_path / "relayer.yaml"
    path.write_text(yaml.safe_dump(whole), encoding="utf-8")
    return path


def test_what_owner_and_group_may_read_is_well(config: Path) -> None:
    """Mounted secrets belong to root and a group: that is as it should be."""
    assert exposed_files(load_settings(config, {})) == []


@pytest.mark.parametrize("name", FILES)
def test_what_everybody_may_read_is_named_with_its_mode_and_the_way_out(
    config: Path, name: str
) -> None:
    """Of a link, what it leads to counts: that is how mounted secrets look."""
    real = (config.parent / name).rename(config.parent / "..data")
    (config.parent / name).symlink_to(real)
    real.chmod(0o644)
    (found,) = exposed_files(load_settings(config, {}))
    assert found.field == FIELDS[name]
    assert str(config.parent / name) in found.text
    assert "mode 0644" in found.text
    assert "chmod o-rwx" in found.text
    assert "defaultMode 0440" in found.text


def test_check_config_warns_and_goes_on(config: Path) -> None:
    """It is unwise and works: the exit code is about what does not."""
    whole = yaml.safe_load(config.read_text(encoding="utf-8"))
    del whole["chains"]["one"]["signers"][1]  # its keystore is none
    whole["bridges"] = {}
    config.write_text(yaml.safe_dump(whole), encoding="utf-8")
    os.chmod(config.parent / "key", 0o444)
    result = CliRunner().invoke(main, ["--config", str(config), "--json", "check-config"])
    told = json.loads(result.stdout)["findings"]
    (warned,) = [one for one in told if one["warning"]]
    assert (warned["subject"], warned["ok"]) == (FIELDS["key"], True)
    assert [one["subject"] for one in told if not one["ok"]] == ["bridges"]
    people = CliRunner().invoke(main, ["--config", str(config), "check-config"]).stdout
    assert "warning" in people


@pytest.mark.parametrize("content", [None, "too short", "with a space in " + "e" * 32])
def test_a_token_that_the_service_would_refuse_is_found_before(
    config: Path, content: str | None
) -> None:
    """`check-config` says what `run` would end with."""
    token = config.parent / "token"
    token.chmod(0o600)
    if content is None:
        token.unlink()
    else:
        token.write_text(content, encoding="ascii")
    result = CliRunner().invoke(main, ["--config", str(config), "--json", "check-config"])
    told = {one["subject"]: one for one in json.loads(result.stdout)["findings"]}
    assert result.exit_code == 2
    assert told[FIELDS["token"]]["ok"] is False
    assert str(token) in told[FIELDS["token"]]["text"]


def test_what_a_file_holds_is_known_by_its_digest(config: Path) -> None:
    """A key that took another's place is a change; the secret itself is in no digest."""
    settings = load_settings(config, {})
    before = fingerprints(settings)
    assert set(before) == {FIELDS[name] for name in ("key", "keystore", "password", "token")}
    path = config.parent / "key"
    path.chmod(0o600)
    path.write_text("22" * 32, encoding="ascii")
    (config.parent / "token").unlink()
    after = fingerprints(load_settings(config, {}))
    changed = {field for field in before if before[field] != after[field]}
    assert changed == {FIELDS["key"], FIELDS["token"]}
    assert after[FIELDS["token"]].digest == ""
    assert "22" * 32 not in str(after)


def test_a_pipe_in_the_place_of_a_file_is_refused_and_nobody_waits_for_it(config: Path) -> None:
    """Whoever opens it would wait for its writer: no signer, token or URL comes from one."""
    whole = yaml.safe_load(config.read_text(encoding="utf-8"))
    settings = load_settings(config, {})
    for name in ("token", "key", "password"):
        at = config.parent / name
        at.unlink()
        os.mkfifo(at)
    assert settings.operator is not None
    with pytest.raises(ConfigInvalid, match=r"operator.token_files\[0\].*no regular file"):
        read_tokens(settings.operator)
    with pytest.raises(ConfigInvalid, match=r"key_file: cannot read .*no regular file"):
        load_local(settings.chains["one"].signers[0], {})
    assert fingerprints(settings)[FIELDS["token"]].digest == ""
    assert held_secrets(settings, {}) == []
    os.mkfifo(config.parent / "pipe")
    whole["redis"]["url_file"] = str(config.parent / "pipe")
    config.write_text(yaml.safe_dump(whole), encoding="utf-8")
    with pytest.raises(ConfigInvalid, match=r"redis.url_file: cannot read .*no regular file"):
        load_settings(config, {})


def test_keys_and_passwords_are_known_to_whoever_hides_them(config: Path) -> None:
    """Also a key in the environment; what cannot be read stands in nobody's way."""
    whole = yaml.safe_load(config.read_text(encoding="utf-8"))
    whole["chains"]["one"]["signers"] += [{"key_env": "KEY"}, {"key_file": "/nowhere/key"}]
    config.write_text(yaml.safe_dump(whole), encoding="utf-8")
    settings = load_settings(config, {})
    assert held_secrets(settings, {"KEY": "22" * 32}) == ["11" * 32, "guess me", "22" * 32]
    assert hider(settings)(f"0x{'11' * 32} guess me") == "0x[hidden] [hidden]"
