"""The bridge's own section of the configuration."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from relayer.protocols.hyperlane.settings import HyperlaneSettings

CHAIN = {
    "mailbox": "0x" + "AA" * 20,
    "merkle_tree_hook": "0x" + "bb" * 20,
    "validator_announce": "0x" + "cc" * 20,
}


def section(**changes: Any) -> dict[str, Any]:
    names = {"one": 1, "two": 2, "three": 3}
    chains = {name: {"domain": domain, **CHAIN} for name, domain in names.items()}
    return {"chains": chains, **changes}


def test_all_routes() -> None:
    """`all` is every ordered pair of different chains; addresses become lower case."""
    settings = HyperlaneSettings.model_validate(section())
    assert len(settings.pairs()) == 6
    assert settings.chains["one"].mailbox == "0x" + "aa" * 20
    assert not settings.allow_local_storage
    assert not settings.ccip.allow_private


def test_chosen_routes() -> None:
    """Routes are directed and each counts once."""
    chosen = [["one", "two"], ["one", "two"], ["three", "one"]]
    settings = HyperlaneSettings.model_validate(section(routes=chosen))
    assert settings.pairs() == (("one", "two"), ("three", "one"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"routes": [["one", "four"]]}, "'four' is not one of the bridge's chains"),
        ({"routes": [["one", "one"]]}, "leads to itself"),
        ({"routes": []}, "give at least one"),
        ({"routes": "some"}, "routes"),
        ({"checkpoint_poll_s": 0}, "checkpoint_poll_s"),
        ({"surprise": 1}, "surprise"),
        ({"checkpoint_poll_s": True}, "must not be true or false"),
        ({"chains": {"one": {"domain": 1, **CHAIN, "mailbox": "0x" + "Aa" * 20}}}, "checksum"),
        ({"chains": {"one": {"domain": 1, **CHAIN}}}, "chains"),
        (
            {"chains": {"one": {"domain": 1, **CHAIN}, "two": {"domain": 1, **CHAIN}}},
            "same domain 1",
        ),
        (
            {"chains": {"one": {"domain": 2**32, **CHAIN}, "two": {"domain": 1, **CHAIN}}},
            "domain",
        ),
        ({"storage": {"s3_endpoint": "ftp://x"}}, "is not an http"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], words: str) -> None:
    """A mistake is an error that names it."""
    with pytest.raises(ValidationError, match=words):
        HyperlaneSettings.model_validate(section(**changes))
