"""What reaches a log line, and what must not."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from relayer.ops import logs

KEY = "0123456789abcdef0123"
ENDPOINT = f"https://user:pass%20word@rpc.example/v2/{KEY}?token=sesame1"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """A place to log to; the process's own logging is put back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_with_its_bound_fields(stream: io.StringIO) -> None:
    """Name, level, UTC time, and what was bound; below the level nothing is written."""
    logs.configure(level="info", stream=stream)
    log = structlog.get_logger("relayer").bind(route="hyper:1>10")
    log.info("message_seen", message_id="0x12")
    log.debug("not_shown")
    (line,) = lines(stream)
    assert line["event"] == "message_seen"
    assert line["level"] == "info"
    assert line["route"] == "hyper:1>10"
    assert line["timestamp"].endswith("Z")


def test_a_sentence_is_not_an_event_name(stream: io.StringIO) -> None:
    """Event names stay a closed vocabulary; the words are kept in a field."""
    logs.configure(stream=stream)
    structlog.get_logger().warning("Something went wrong!")
    (line,) = lines(stream)
    assert line["event"] == "misnamed_event"
    assert line["text"] == "Something went wrong!"


@pytest.mark.parametrize("style", ["json", "console"])
def test_secrets_never_reach_a_line(stream: io.StringIO, style: str) -> None:
    """Whether in a field, a URL, a secret type, a nested value or a traceback."""
    logs.configure(stream=stream, style=style, secrets=[ENDPOINT, "swordfish"])
    log = structlog.get_logger()
    log.info(
        "a_field",
        api_key="opensesame1",
        url=ENDPOINT,
        cause=f"GET {ENDPOINT} failed, path /v2/{KEY}",
        nested={"password": "opensesame1", "list": [f"see {ENDPOINT}", "swordfish"]},
        typed=SecretStr("opensesame1"),
    )
    try:
        raise ConnectionError(f"cannot reach {ENDPOINT} with swordfish")
    except ConnectionError:
        log.exception("a_failure")
    text = stream.getvalue()
    for secret in (KEY, "opensesame1", "swordfish", "sesame1", "pass%20word"):
        assert secret not in text
    assert "rpc.example" in text
    assert "ConnectionError" in text


def test_unknown_urls_keep_only_their_host(stream: io.StringIO) -> None:
    """A provider's key in a URL is hidden though nobody told us about it."""
    logs.configure(stream=stream)
    structlog.get_logger().info("x_y", cause="wss://mainnet.example:8443/ws/abcdef?k=1 closed")
    assert lines(stream)[0]["cause"] == "wss://mainnet.example:8443/[hidden] closed"


def test_every_value_is_bounded(stream: io.StringIO) -> None:
    """A megabyte of revert data does not become a megabyte of log."""
    logs.configure(stream=stream)
    deep: list[Any] = []
    deep.append(deep)
    structlog.get_logger().info(
        "big_values",
        text="x" * 10**6,
        revert=b"\xff" * 10**6,
        many=list(range(10**5)),
        deep=deep,
        wei=2**200,
        odd={"k" * 10**4: object()},
    )
    (line,) = lines(stream)
    assert len(stream.getvalue()) < 6000
    assert len(line["text"]) <= logs.MAX_TEXT
    assert len(line["many"]) == logs.MAX_ITEMS
    assert line["wei"] == str(2**200)


def test_long_tracebacks_keep_both_ends(stream: io.StringIO) -> None:
    """The cause stands at the end, where the cut must not be."""
    logs.configure(stream=stream)
    try:
        raise ValueError("start" + "x" * 50_000 + "the cause")
    except ValueError:
        structlog.get_logger().exception("a_failure")
    (line,) = lines(stream)
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("the cause")
    assert len(line["exception"]) <= logs.MAX_TRACEBACK


def test_libraries_log_through_the_same_redaction(stream: io.StringIO) -> None:
    """Their warnings are one event of ours; their chatter is not shown."""
    logs.configure(level="debug", stream=stream, secrets=["swordfish"])
    library = logging.getLogger("some.library")
    library.info("chatter")
    library.warning("retrying %s for swordfish", ENDPOINT)
    (line,) = lines(stream)
    assert line["event"] == "library_log"
    assert line["logger"] == "some.library"
    assert "swordfish" not in line["text"]
    assert KEY not in line["text"]


def test_configuring_twice_writes_once(stream: io.StringIO) -> None:
    """The service sets logging up again after it has read its configuration."""
    logs.configure(stream=stream)
    logs.configure(stream=stream)
    logging.getLogger("some.library").warning("once")
    assert len(lines(stream)) == 1


def test_the_level_is_changed_for_loggers_that_there_are(stream: io.StringIO) -> None:
    """Also for those that were bound before, and for the libraries'."""
    told = logs.configure(level="warning", stream=stream)
    bound = structlog.get_logger().bind(agent="old")
    bound.info("unheard")
    told.set_level("debug")
    bound.debug("heard")
    told.set_level("error")
    bound.warning("unheard_again")
    logging.getLogger("library").warning("not this")
    assert told.level == "error"
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["heard"]
    with pytest.raises(KeyError):
        told.set_level("exception")


def test_secrets_learned_later_are_hidden_from_loggers_that_there_are(
    stream: io.StringIO,
) -> None:
    """A new configuration's, beside the old one's."""
    told = logs.configure(stream=stream, secrets=["first-secret"])
    bound = structlog.get_logger().bind(agent="old")
    told.learn(["second-secret"])
    bound.info("leak", text="first-secret second-secret")
    assert "secret" not in stream.getvalue().replace("[hidden]", "")


def test_a_secret_is_hidden_as_json_and_errors_quote_it() -> None:
    """A token may hold quotes and backslashes, which are written otherwise inside of a text."""
    secret = "to\"ken\\with-both'"
    redactor = logs.Redactor([secret])
    for text in (secret, json.dumps({"why": secret}), repr(secret), f"see {secret!r}"):
        assert "ken" not in redactor.without_known(text)


def test_plain_data_is_hidden_before_it_is_quoted() -> None:
    """Every text, however deep, and the names of fields."""
    hide = logs.Redactor(["swordfish"]).without_known
    data = {"swordfish": [{"a": "a swordfish"}, 1, None], "b": True}
    assert logs.without_secrets(data, hide) == {
        "[hidden]": [{"a": "a [hidden]"}, 1, None],
        "b": True,
    }


def test_a_key_is_hidden_with_and_without_its_prefix_and_in_capitals() -> None:
    """The same number is the same secret; another one is a hash that people write about."""
    key, other = "ab" * 32, "cd" * 32
    for known in (key, "0x" + key, key.upper()):
        redactor = logs.Redactor([known])
        for text in (key, "0x" + key, key.upper()):
            assert key not in redactor.without_known(f"see {text}.").lower()
        assert redactor.without_known(other) == other


def test_a_long_user_name_of_a_url_is_a_key_and_a_word_is_none() -> None:
    """Providers take keys in the user part; `default` is a word of Redis."""
    redactor = logs.Redactor([f"https://{KEY}:x@rpc.example", "redis://default:swordfish@h/0"])
    assert redactor.without_known(f"{KEY} default swordfish") == "[hidden] default [hidden]"


def test_an_escaped_password_is_hidden_as_it_is_meant() -> None:
    """A client that complains of it has taken the escapes out."""
    redactor = logs.Redactor(["redis://:pass%20word@h/0"])
    assert redactor.without_known("pass%20word, pass word") == "[hidden], [hidden]"
