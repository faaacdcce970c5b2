"""Tokens, limits and masks by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayer.errors import ConfigInvalid
from relayer.ops.operator.limits import Bucket, Buckets
from relayer.ops.operator.tokens import Tokens
from relayer.settings import OperatorSettings, masked, read_tokens

ONE, TWO = "a" * 32, "b" * 40


@given(st.text(max_size=60))
def test_nothing_but_a_token_is_a_token(text: str) -> None:
    """Whatever a header holds, it is refused without an error unless it is right."""
    tokens = Tokens({"one": ONE, "two": TWO})
    caller = tokens.caller([f"Bearer {text}"])
    expected = {ONE: "one", TWO: "two"}.get(text.strip(), "")
    assert caller.name == expected
    assert bool(caller.why_not) != bool(caller.name)


def test_no_tokens_let_nobody_in() -> None:
    """An empty set is no open door."""
    assert Tokens({}).caller(["Bearer "]).name == ""
    assert Tokens({}).caller([f"Bearer {ONE}"]).why_not == "wrong_token"


def settings_of(*files: Path) -> OperatorSettings:
    return OperatorSettings.model_validate({"token_files": [str(file) for file in files]})


def test_tokens_are_read_by_the_names_of_their_files(tmp_path: Path) -> None:
    """A newline at the end, as editors leave it, is no part of the token."""
    (tmp_path / "old").write_text(ONE + "\n", encoding="ascii")
    (tmp_path / "new").write_text(TWO, encoding="ascii")
    found = read_tokens(settings_of(tmp_path / "old", tmp_path / "new"))
    assert found == {"old": ONE, "new": TWO}


@pytest.mark.parametrize(
    "text", ["", "short", "a" * 31, "a" * 31 + " " + "b" * 31, "ä" * 40, "a" * 513, ONE + "\x00"]
)
def test_a_bad_token_is_named_and_not_shown(tmp_path: Path, text: str) -> None:
    """Field, file and way out; the token itself is a secret even when it is bad."""
    file = tmp_path / "token"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigInvalid, match=r"operator\.token_files\[0\].*32 to 512") as refused:
        read_tokens(settings_of(file))
    assert len(text) < 6 or text not in str(refused.value)


def test_two_equal_tokens_are_no_rotation(tmp_path: Path) -> None:
    """Neither by content nor by name."""
    for name in ("old", "new"):
        (tmp_path / name).write_text(ONE, encoding="ascii")
    with pytest.raises(ConfigInvalid, match="same token"):
        read_tokens(settings_of(tmp_path / "old", tmp_path / "new"))
    with pytest.raises(ValueError, match="different file names"):
        settings_of(tmp_path / "a" / "token", tmp_path / "b" / "token")


def test_a_bucket_fills_with_time() -> None:
    """A burst, then the rate, never more than the burst; a clock that goes back gives nothing."""
    at = [0.0]
    bucket = Bucket(per_s=2, burst=3, clock=lambda: at[0])
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    at[0] = 0.5
    assert [bucket.take() for _ in range(2)] == [True, False]
    at[0] = 1000.0
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    at[0] = 0.0
    assert not bucket.take()


def test_callers_have_buckets_of_their_own_and_few_are_remembered() -> None:
    """One who is out does not take from another; memory is bounded."""
    buckets = Buckets(lambda: Bucket(per_s=0, burst=1, clock=lambda: 0.0), most=3)
    assert buckets.take("a")
    assert not buckets.take("a")
    assert buckets.take("b")
    for name in "cdefgh":
        buckets.take(name)
    assert len(buckets) == 3


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"password": "x"}, {"password": "[hidden]"}),
        ({"allow_private": True, "private": 1}, {"allow_private": True, "private": "[hidden]"}),
        ({"api_key": None}, {"api_key": None}),
        ({"keystore_password_file": "/run/p"}, {"keystore_password_file": "/run/p"}),
        ({"token": ["a", "b"]}, {"token": ["[hidden]", "[hidden]"]}),
        (["https://h/x"], ["https://h/[hidden]"]),
        (["https://h:1/"], ["https://h:1"]),
        (["https://u:p@h"], ["https://h/[hidden]"]),
        (["redis://[::1"], ["[hidden]"]),
        ([1, 1.5, True, None, "plain"], [1, 1.5, True, None, "plain"]),
    ],
)
def test_masks(value: object, shown: object) -> None:
    """By the key's name where the model is not known, and of URLs only the place."""
    assert masked(value) == shown
