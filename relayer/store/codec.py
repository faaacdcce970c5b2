"""Messages, intents and facts to and from what Redis holds: compact JSON and plain text fields."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

from relayer.errors import UnknownRecord, UnreadableRecord
from relayer.foreign_json import parse_json
from relayer.message import (
    Address,
    BlockHash,
    BlockNumber,
    BridgeName,
    ChainId,
    Gas,
    Gate,
    LogRef,
    Message,
    MessageId,
    Moment,
    Payment,
    Reason,
    Record,
    RootSeen,
    Route,
    Status,
    Timestamp,
    TreeId,
    TxHash,
    Wei,
)
from relayer.store.shapes import Attempt, Charge, Intent, IntentCall

MAX_DETAIL = 400
MAX_EVIDENCE = 16
MAX_EVIDENCE_VALUE = 1024
EXACT = 2**53 - 1
"""The largest integer a sorted set's score holds exactly."""


def dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def detail_text(text: str) -> str:
    """A detail cut to its bound, without what JSON cannot carry."""
    return text[:MAX_DETAIL].encode("utf-8", "replace").decode()


def evidence_text(evidence: Mapping[str, str]) -> str:
    """Evidence cut to its bounds as JSON; empty text for none."""
    kept = {
        detail_text(str(name))[:64]: str(value)[:MAX_EVIDENCE_VALUE]
        .encode("utf-8", "replace")
        .decode()
        for name, value in list(evidence.items())[:MAX_EVIDENCE]
    }
    return dumps(kept) if kept else ""


def time_text(at: float) -> str:
    return f"{at:.3f}"


def score(value: int) -> str:
    """An integer as a sorted set's score: exact up to 2^53, clamped above."""
    return str(max(-EXACT, min(value, EXACT)))


# --- where a chain said it -------------------------------------------------------------------


def ref_text(at: LogRef) -> str:
    return f"{at.chain} {at.block} {at.block_hash} {at.tx} {at.log_index} {at.timestamp:.3f}"


def ref_from(text: str) -> LogRef:
    chain, block, block_hash, tx, index, timestamp = text.split(" ")
    return LogRef(
        ChainId(int(chain)),
        BlockNumber(int(block)),
        BlockHash(block_hash),
        TxHash(tx),
        int(index),
        Timestamp(float(timestamp)),
    )


# --- messages --------------------------------------------------------------------------------


def message_text(message: Message) -> str:
    """The immutable part; a body that is a part of the payload is kept as its place in it."""
    place = message.payload.find(message.body) if message.body else -1
    body: object = _b64(message.body) if place < 0 else [place, len(message.body)]
    parts: dict[str, object] = {
        "sender": message.sender,
        "recipient": message.recipient,
        "nonce": str(message.nonce),
        "body": body,
        "payload": _b64(message.payload),
    }
    if message.tree is not None:
        parts["tree"] = message.tree
    if message.leaf_index is not None:
        parts["leaf"] = str(message.leaf_index)
    if message.extra:
        parts["extra"] = dict(message.extra)
    if message.inbox_id is not None:
        parts["inbox_id"] = message.inbox_id
    return dumps(parts)


def _message(message_id: str, route: str, *, text: str, at: str) -> Message:
    parts = parse_json(text)
    payload = _unb64(parts["payload"])
    body = parts["body"]
    tree, leaf, inbox_id = parts.get("tree"), parts.get("leaf"), parts.get("inbox_id")
    return Message(
        id=MessageId(message_id),
        route=Route.parse(route),
        sender=str(parts["sender"]),
        recipient=str(parts["recipient"]),
        nonce=int(parts["nonce"]),
        body=_unb64(body) if isinstance(body, str) else payload[body[0] : body[0] + body[1]],
        payload=payload,
        at=ref_from(at),
        tree=None if tree is None else TreeId(tree),
        leaf_index=None if leaf is None else int(leaf),
        extra=dict(parts.get("extra", {})),
        inbox_id=None if inbox_id is None else MessageId(inbox_id),
    )


def fields_of(flat: Sequence[bytes]) -> dict[str, str]:
    """`HGETALL`'s answer as text."""
    texts = [part.decode("utf-8", "replace") for part in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def record_from(message_id: str, flat: Sequence[bytes], *, key: str) -> Record:
    """A stored hash as a record; `UnreadableRecord` naming the key when it is not one."""
    try:
        return _record(message_id, _unpacked(fields_of(flat)))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UnreadableRecord(
            f"the key {key} does not hold a message record ({type(error).__name__}: {error})"
        ) from error


def _unpacked(fields: dict[str, str]) -> dict[str, str]:
    """A finished record keeps all but the message in one field (`pack` in message_words.lua)."""
    packed = fields.get("packed")
    if packed is None:
        return fields
    rest = parse_json(packed)
    if "tx" not in rest and "delivery" in rest:
        rest["tx"] = ref_from(rest["delivery"]).tx
    return {**fields, **rest, "timeline": dumps(rest["timeline"])}


def record_or_none(message_id: str, flat: Sequence[bytes], *, key: str) -> Record | None:
    """Like `record_from`, but None for garbage: one bad key must not stop the others."""
    try:
        return record_from(message_id, flat, key=key)
    except UnknownRecord:
        return None


def _record(message_id: str, fields: Mapping[str, str]) -> Record:
    wake_at, value, tx = fields.get("wake_at"), fields.get("gate_value"), fields.get("tx")
    refused_since = fields.get("refused_since")
    evidence = parse_json(fields.get("evidence") or "{}")
    clocks = parse_json(fields.get("clocks") or "{}")
    return Record(
        message=_message(message_id, fields["route"], text=fields["message"], at=fields["at"]),
        status=Status(fields["status"]),
        reason=Reason(fields["reason"]),
        detail=fields.get("detail", ""),
        since=Timestamp(float(fields["since"])),
        seen_at=Timestamp(float(fields["seen_at"])),
        wake_at=None if wake_at is None else Timestamp(float(wake_at)),
        gate=fields.get("gate"),
        gate_value=None if value is None else int(value),
        attempts=int(fields.get("attempts", 0)),
        alone=fields.get("alone") == "1",
        payment=_payment(fields),
        timeline=tuple(
            Moment(Timestamp(float(at)), Status(status), Reason(reason), str(detail))
            for at, status, reason, detail in parse_json(fields["timeline"])
        ),
        evidence={**evidence, **{f"clock:{name}": str(at) for name, at in clocks.items()}},
        tx=None if tx is None else TxHash(tx),
        refused_since=None if refused_since is None else Timestamp(float(refused_since)),
    )


def _payment(fields: Mapping[str, str]) -> Payment:
    """All payments summed here, where integers have no limit."""
    entries = parse_json(fields.get("payments") or "{}")
    rows = list(entries.values()) if entries else []
    gas = sum(int(row[1]) for row in rows)
    amount = sum(int(row[2]) for row in rows)
    folded = (fields.get("folded") or "0 0 0").split(" ")
    return Payment(
        Gas(gas + int(folded[0])), Wei(amount + int(folded[1])), len(rows) + int(folded[2])
    )


# --- roots and gates -------------------------------------------------------------------------


def gate_from(text: str) -> Gate:
    bridge, _, name = text.partition("|")
    return Gate(BridgeName(bridge), name)


def root_text(fact: RootSeen) -> str:
    parts = [str(fact.level), fact.root.hex(), ref_text(fact.at), dict(fact.extra)]
    return f"{fact.at.block} {dumps(parts)}"


def root_from(gate: Gate, member: bytes, *, key: str) -> RootSeen:
    """A member of `root:<gate>`; `UnreadableRecord` naming the key when it is something else."""
    try:
        level, root, at, extra = parse_json(member.partition(b" ")[2])
        return RootSeen(gate, int(level), bytes.fromhex(root), ref_from(at), dict(extra))
    except (ValueError, TypeError, AttributeError) as error:
        raise UnreadableRecord(f"the key {key} does not hold roots ({error})") from error


# --- intents ---------------------------------------------------------------------------------


def intent_text(intent: Intent) -> str:
    return dumps(
        {
            "calls": [
                [call.message_id, call.what, call.final, str(call.income), call.gas]
                for call in intent.calls
            ],
            "created_at": time_text(intent.created_at),
            "purpose": intent.purpose,
            **({"charge": _charge_parts(intent.charge)} if intent.charge else {}),
        }
    )


def _charge_parts(charge: Charge) -> dict[str, Any]:
    return {"day": charge.day, "gwei": dict(charge.gwei), "expected": str(charge.expected)}


def _charge_from(parts: Mapping[str, Any]) -> Charge:
    gwei = {str(name): int(amount) for name, amount in parts["gwei"].items()}
    return Charge(str(parts["day"]), gwei, Wei(int(parts["expected"])))


def attempt_text(attempt: Attempt) -> str:
    return dumps(
        {
            "hash": attempt.hash,
            "raw": _b64(attempt.raw),
            "max_fee": str(attempt.max_fee),
            "tip": str(attempt.tip),
            "gas_price": None if attempt.gas_price is None else str(attempt.gas_price),
            "gas": str(attempt.gas),
            "at": time_text(attempt.at),
            "block": str(attempt.block),
        }
    )


def intents_from(signer: Address, flat: Sequence[bytes], *, key: str) -> list[Intent]:
    """`HGETALL intents:<signer>` as intents by nonce; `UnreadableRecord` naming the key."""
    try:
        fields = fields_of(flat)
        nonces = sorted(int(name) for name in fields if ":" not in name)
        return [_intent(signer, nonce, fields) for nonce in nonces]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableRecord(f"the key {key} does not hold intents ({error})") from error


def _intent(signer: Address, nonce: int, fields: Mapping[str, str]) -> Intent:
    head = parse_json(fields[str(nonce)])
    attempts: list[Attempt] = []
    while (text := fields.get(f"{nonce}:{len(attempts)}")) is not None:
        attempts.append(_attempt(parse_json(text)))
    return Intent(
        signer=signer,
        nonce=nonce,
        calls=tuple(_intent_call(*parts) for parts in head["calls"]),
        attempts=tuple(attempts),
        created_at=Timestamp(float(head["created_at"])),
        purpose="cancel" if head["purpose"] == "cancel" else "deliver",
        charge=_charge_from(head["charge"]) if "charge" in head else None,
    )


def _intent_call(
    message_id: str, what: str, final: bool = True, income: str = "0", gas: int = 1
) -> IntentCall:
    """Older intents do not say `final` (all of theirs were), what they earn, or their gas."""
    return IntentCall(
        MessageId(message_id), str(what), bool(final), Wei(int(income)), Gas(int(gas))
    )


def _attempt(parts: Mapping[str, Any]) -> Attempt:
    price = parts["gas_price"]
    return Attempt(
        hash=TxHash(parts["hash"]),
        raw=_unb64(parts["raw"]),
        max_fee=Wei(int(parts["max_fee"])),
        tip=Wei(int(parts["tip"])),
        gas_price=None if price is None else Wei(int(price)),
        gas=Gas(int(parts["gas"])),
        at=Timestamp(float(parts["at"])),
        block=BlockNumber(int(parts["block"])),
    )


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _unb64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error
