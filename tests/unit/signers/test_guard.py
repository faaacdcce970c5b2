"""What a signer's limits forbid never reaches its key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayer.chains.fees import FeeQuote
from relayer.chains.multicall import decode_aggregate3_value, encode_aggregate3_value
from relayer.chains.signers import GuardedSigner, Limits, LocalSigner
from relayer.chains.transactions import Envelope, SignedTransaction
from relayer.errors import BadChainData, SigningRefused
from relayer.message import Address, ChainId, Gas, Wei
from relayer.settings import AllowedTarget

INBOX = Address("0x" + "1b" * 20)
ANY = Address("0x" + "aa" * 20)
STRANGER = Address("0x" + "66" * 20)
MULTICALL = Address("0x" + "ca" * 20)
DELIVER, OTHER = "0x01020304", "0x01020305"
ALLOW = (AllowedTarget(to=INBOX, selectors=[DELIVER]), AllowedTarget(to=ANY))
CALLS = st.lists(
    st.tuples(
        st.binary(min_size=20, max_size=20).map(lambda b: Address("0x" + b.hex())),
        st.booleans(),
        st.integers(0, 2**256 - 1),
        st.binary(max_size=70),
    ),
    max_size=5,
)


class Counting(LocalSigner):
    """A signer that counts what reaches its key."""

    asked = 0

    async def sign(self, tx: Envelope) -> SignedTransaction:
        self.asked += 1
        return await super().sign(tx)


def transaction(to: Address, data: str = "", value: int = 0, chain: int = 10) -> Envelope:
    fees = FeeQuote(Wei(2), Wei(1))
    return Envelope(ChainId(chain), 0, to, Wei(value), bytes.fromhex(data), Gas(21_000), fees)


def pack(*calls: tuple[Address, str, int], value: int | None = None) -> Envelope:
    """A pack of calls (to, data, value)."""
    data = encode_aggregate3_value(
        [(to, True, amount, bytes.fromhex(data[2:])) for to, data, amount in calls]
    )
    total = sum(amount for _, _, amount in calls) if value is None else value
    return transaction(MULTICALL, data.hex(), total)


def guarded(
    allow: Sequence[AllowedTarget] | None = ALLOW, max_value: int = 0
) -> tuple[GuardedSigner, Counting]:
    inner = Counting(b"\x07" * 32)
    limits = Limits(ChainId(10), Wei(max_value), allow, MULTICALL)
    return GuardedSigner(inner, limits), inner


async def test_what_is_allowed_is_signed() -> None:
    """A listed function, any function of a contract listed without, packs of both, and nothing
    sent to itself; the signature is the inner signer's."""
    signer, inner = guarded()
    good = [
        transaction(INBOX, "01020304ff"),
        transaction(ANY, "99999999"),
        transaction(ANY),
        pack((INBOX, DELIVER + "00", 0), (ANY, "0x", 0)),
        transaction(signer.address),
    ]
    for envelope in good:
        assert await signer.sign(envelope) == await LocalSigner(b"\x07" * 32).sign(envelope)
    assert inner.asked == len(good)


@pytest.mark.parametrize(
    ("envelope", "words"),
    [
        (transaction(INBOX, "01020304", chain=1), "of chain 1, the signer is for 10"),
        (transaction(INBOX, "01020304", value=1), "sends 1 wei, .* max_value_wei is 0"),
        (transaction(INBOX, "01020305"), f"calls {OTHER} of {INBOX}"),
        (transaction(INBOX, "010203"), f"calls 0x010203 of {INBOX}"),
        (transaction(INBOX), f"calls 0x of {INBOX}"),
        (transaction(STRANGER, "01020304"), f"calls {DELIVER} of {STRANGER}"),
        (pack((INBOX, DELIVER, 0), (STRANGER, DELIVER, 0)), f"{DELIVER} of {STRANGER}"),
        (pack((INBOX, OTHER, 0)), f"calls {OTHER} of {INBOX}"),
        (pack((MULTICALL, "0x174dea71", 0)), f"calls 0x174dea71 of {MULTICALL}"),
        (transaction(MULTICALL, "82ad56cb"), f"calls 0x82ad56cb of {MULTICALL}"),
        (transaction(MULTICALL, "174dea71"), "a pack that cannot be read"),
        (transaction(MULTICALL, "174dea71" + "ff" * 64), "a pack that cannot be read"),
        (transaction(MULTICALL), f"calls 0x of {MULTICALL}"),
    ],
)
async def test_what_is_not_allowed_never_reaches_the_key(envelope: Envelope, words: str) -> None:
    """Each limit says which it is."""
    signer, inner = guarded()
    with pytest.raises(SigningRefused, match=words):
        await signer.sign(envelope)
    assert inner.asked == 0


async def test_value_within_the_limit() -> None:
    """Up to the limit, and in a pack just what its calls send."""
    signer, inner = guarded(max_value=5)
    await signer.sign(transaction(ANY, value=5))
    await signer.sign(pack((ANY, "0x", 2), (ANY, "0x", 3)))
    with pytest.raises(SigningRefused, match="sends 6 wei"):
        await signer.sign(pack((ANY, "0x", 3), (ANY, "0x", 3)))
    with pytest.raises(SigningRefused, match="do not send what the transaction sends"):
        await signer.sign(pack((ANY, "0x", 2), value=5))
    assert inner.asked == 2


async def test_to_itself_only_nothing_goes() -> None:
    """What fills a gap carries neither data, value nor an access list."""
    signer, inner = guarded(max_value=5)
    to_self = transaction(signer.address)
    named = replace(to_self, access_list=((ANY, (b"\x01" * 32,)),))
    for envelope in (replace(to_self, data=b"\x00"), replace(to_self, value=Wei(1)), named):
        with pytest.raises(SigningRefused, match=f"of {signer.address}"):
            await signer.sign(envelope)
    assert inner.asked == 0


async def test_without_a_list_only_chain_and_value_count() -> None:
    """Any contract, but no other chain and no more money."""
    signer, _ = guarded(allow=None)
    await signer.sign(transaction(STRANGER, "01"))
    for bad in (transaction(STRANGER, value=1), transaction(STRANGER, chain=1)):
        with pytest.raises(SigningRefused):
            await signer.sign(bad)


async def test_an_empty_list_allows_gaps_alone() -> None:
    """`allow: []` is a list too."""
    signer, _ = guarded(allow=())
    await signer.sign(transaction(signer.address))
    with pytest.raises(SigningRefused):
        await signer.sign(transaction(INBOX, "01020304"))


@given(CALLS)
def test_packs_are_read_as_they_are_written(calls: list[tuple[Address, bool, int, bytes]]) -> None:
    """Every call comes back."""
    assert decode_aggregate3_value(encode_aggregate3_value(calls)) == calls


@given(CALLS, st.data())
def test_another_encoding_is_refused(
    calls: list[tuple[Address, bool, int, bytes]], drawn: st.DataObject
) -> None:
    """What the contract might read otherwise than we do is no pack of ours."""
    raw = bytearray(encode_aggregate3_value(calls))
    raw[drawn.draw(st.integers(4, len(raw) - 1))] ^= drawn.draw(st.integers(1, 255))
    try:
        found = decode_aggregate3_value(bytes(raw))
    except BadChainData:
        return
    assert found != calls
    assert encode_aggregate3_value(found) == bytes(raw)
