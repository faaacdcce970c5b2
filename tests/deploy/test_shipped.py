"""The configuration that is shipped, with the secrets that are made for it as documented."""

from __future__ import annotations

import base64
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from relayer.settings import load_settings, read_tokens
from relayer.settings.signing import is_loopback
from tests.deploy import shipped

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="the script gives files to the containers' users"
)

URLS = ("base-rpc", "ethereum-rpc")
"""Yours to write."""


def test_the_script_makes_all_but_the_urls_and_says_so(tmp_path: Path) -> None:
    """Nobody else may read what it makes, and a second run changes nothing."""
    secrets, said = shipped.make_secrets(tmp_path)
    made = {file.name: file for file in (secrets / "relayer").iterdir()}
    assert made.keys() == shipped.named_secrets() - set(URLS)
    assert said.splitlines() == [
        f"{shipped.address_of(secrets).lower()} in keystore.json",
        *(f"secrets/relayer/{name} is yours to write" for name in URLS),
    ]
    for file in made.values():
        assert (file.stat().st_uid, stat.S_IMODE(file.stat().st_mode)) == (shipped.OURS, 0o400)
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    before = {name: file.read_bytes() for name, file in made.items()}
    _write_urls(secrets / "relayer")
    _, said = shipped.make_secrets(tmp_path)
    assert said == ""
    assert {name: file.read_bytes() for name, file in made.items()} == before


@pytest.mark.parametrize("kind", [shipped.PlainFolder, shipped.KubeletVolume])
def test_the_relayer_accepts_it(
    kind: type[shipped.PlainFolder | shipped.KubeletVolume], tmp_path: Path
) -> None:
    """As compose mounts it and as kubelet does: loaded in earnest, and by `check-config`."""
    made, _ = shipped.make_secrets(tmp_path)
    _write_urls(made / "relayer")
    secrets, config = kind(tmp_path / "mounted-secrets"), kind(tmp_path / "mounted-config")
    secrets.write(_MADE_AS[kind](made / "relayer"))
    text = shipped.RELAYER_YAML.read_text("utf-8")
    config.write({"relayer.yaml": text.replace(shipped.SECRETS_AT, str(secrets.path))})
    file = config.path / "relayer.yaml"
    settings = load_settings(file, {})
    assert settings.redis.url is not None
    assert settings.redis.url.get_secret_value().rpartition("@")[2] == "redis:6379/0"
    assert settings.operator is not None
    assert is_loopback(f"http://{settings.operator.host}")
    assert read_tokens(settings.operator).keys() == {"operator-token"}
    done = subprocess.run(
        [sys.executable, "-m", "relayer", "--config", file, "check-config"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()


def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    """The check above can fail: without an operator's token nothing starts."""
    made, _ = shipped.make_secrets(tmp_path)
    _write_urls(made / "relayer")
    (made / "relayer" / "operator-token").unlink()
    file = tmp_path / "relayer.yaml"
    text = shipped.RELAYER_YAML.read_text("utf-8")
    file.write_text(text.replace(shipped.SECRETS_AT, str(made / "relayer")), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "relayer", "--config", file, "check-config"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "operator.token_files[0]" in done.stdout


def _write_urls(secrets: Path) -> None:
    for name in URLS:
        (secrets / name).write_text(f"https://{name}.example/key")


def _as_files(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text("utf-8") for file in folder.iterdir()}


def _as_a_secret(folder: Path) -> dict[str, str]:
    """By the command that secret.example.yaml names."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl on PATH to make a Secret with")
    create = ("create", "secret", "generic", "relayer-secrets", f"--from-file={folder}")
    made = subprocess.run(
        [kubectl, "-n", "relayer", *create, "--dry-run=client", "--output=yaml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return {
        name: base64.b64decode(value).decode()
        for name, value in yaml.safe_load(made.stdout)["data"].items()
    }


_MADE_AS = {shipped.PlainFolder: _as_files, shipped.KubeletVolume: _as_a_secret}
