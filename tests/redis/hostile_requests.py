"""Requests that nobody in good faith would send, from a seed, as raw bytes for one connection."""

from __future__ import annotations

import random
from collections.abc import Iterator
from urllib.parse import quote

from tests.redis.sample_facts import id_of, tx_of

PATHS = (
    "/v1/messages",
    "/v1/messages/{id}",
    "/v1/messages/{id}/proof",
    "/v1/routes",
    "/v1/chains",
    "/v1/openapi.json",
    "/v1/nothing",
    "/v1/messages/{id}/",
    "/v1//messages",
    "/../v1/messages",
    "/healthz",
    "/readyz",
)
NAMES = (
    "tx", "status", "reason", "route", "bridge", "origin", "destination", "sender", "recipient",
    "order", "limit", "cursor", "after", "id", "chain", "__proto__", "limit[]", "Limit", "",
)  # fmt: skip
TEXTS = (
    "", "0", "-1", "1e9", "99999999999999999999", "NaN", "null", "true", "[]", "{}", "'\"--",
    "0x", "0x" + "0" * 63, "0x" + "g" * 64, "0X" + "a" * 64, "waiting", "WAITING", "new",
    "a:1>2", "a:0>0", "*:1>2", "a:1>99999999999999999999", "../../etc/passwd", "${jndi:ldap://x}",
    "<script>alert(1)</script>", "%00", "%0d%0aSet-Cookie: x=1", "\u202e", "\U0001f4a5" * 40,
    "A" * 3000, "_" * 4001, "MTIz", "redis.call('FLUSHALL')", "\x00", "\ud7ff", "١٢",
)  # fmt: skip
HEADERS = (
    "If-None-Match: *", 'If-None-Match: W/"x", "y"', "If-None-Match: \"", "Last-Event-ID: x",
    "X-Forwarded-For: 1.1.1.1, ::1, x", "Origin: https://evil.example", "Range: bytes=0-1",
    "Accept: application/xml", "Accept-Encoding: br;q=9", "Cookie: " + "a" * 2000,
    "Content-Type: application/json", "Expect: 100-continue", "Upgrade: websocket",
    "Connection: upgrade", "Authorization: Bearer " + "x" * 100, "X-HTTP-Method-Override: DELETE",
    "If-Modified-Since: yesterday", "Transfer-Encoding: identity",
)  # fmt: skip
METHODS = ("GET",) * 12 + ("HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW")


def requests(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """(method, request) pairs; every request has its end and asks for one answer."""
    rng = random.Random(seed)
    for _ in range(count):
        method = rng.choice(METHODS)
        yield method, _request(rng, method)


def _request(rng: random.Random, method: str) -> bytes:
    known = rng.choice((id_of(rng.randrange(12)), tx_of(rng.randrange(12))))
    wild = quote(rng.choice(TEXTS), safe="'\":*()")
    path = rng.choice(PATHS).replace("{id}", rng.choice((known, known, wild)))
    pairs = [_pair(rng) for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 3, 12)))]
    target = path + ("?" + "&".join(pairs) if pairs else "")
    body = b"x" * rng.choice((0, 0, 0, 0, 1, 1024, 1025, 5000))
    lines = [f"{method} {target} HTTP/1.1", "Host: relayer.example"]
    lines += rng.sample(HEADERS, rng.choice((0, 0, 1, 2)))
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("utf-8", "replace") + b"\r\n\r\n" + body


def _pair(rng: random.Random) -> str:
    value = rng.choice((rng.choice(TEXTS), id_of(rng.randrange(12)), str(rng.randrange(300))))
    return f"{rng.choice(NAMES)}={quote(value, safe='')}"
