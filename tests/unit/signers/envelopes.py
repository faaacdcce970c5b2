"""Transactions of every form that we send, for signers to sign."""

from __future__ import annotations

from hypothesis import strategies as st

from relayer.chains.fees import FeeQuote
from relayer.chains.transactions import Envelope
from relayer.message import Address, ChainId, Gas, Wei

TO = Address("0x" + "22" * 20)
EIP1559 = Envelope(
    ChainId(10), 7, TO, Wei(0), b"\x01\x02\x03\x04data", Gas(90_000), FeeQuote(Wei(20), Wei(2))
)
LEGACY = Envelope(ChainId(10), 0, TO, Wei(5), b"", Gas(21_000), FeeQuote(Wei(9), Wei(0), Wei(9)))
_ACCESS = ((TO, (b"\x01" * 32, b"\x00" * 32)), (Address("0x" + "00" * 20), ()))
ACCESS_1559 = Envelope(
    ChainId(1), 2**40, TO, Wei(1), b"\xff" * 300, Gas(2**30), FeeQuote(Wei(20), Wei(2)), _ACCESS
)
ACCESS_2930 = Envelope(
    ChainId(1), 1, TO, Wei(0), b"\x00", Gas(50_000), FeeQuote(Wei(9), Wei(0), Wei(9)), _ACCESS
)
KINDS = {
    "eip1559": EIP1559,
    "legacy": LEGACY,
    "eip1559 with access list": ACCESS_1559,
    "eip2930": ACCESS_2930,
}

_WEI = st.integers(0, 2**128)
_ADDRESS = st.binary(min_size=20, max_size=20).map(lambda b: Address("0x" + b.hex()))
_WORDS = st.lists(st.binary(min_size=32, max_size=32), max_size=3).map(tuple)
ENVELOPES = st.builds(
    Envelope,
    chain_id=st.integers(1, 2**53).map(ChainId),
    nonce=st.integers(0, 2**63),
    to=_ADDRESS,
    value=_WEI,
    data=st.binary(max_size=300),
    gas=st.integers(21_000, 2**40).map(Gas),
    fees=st.one_of(
        st.builds(FeeQuote, max_fee=_WEI, tip=_WEI),
        _WEI.map(lambda price: FeeQuote(Wei(price), Wei(0), Wei(price))),
    ),
    access_list=st.lists(st.tuples(_ADDRESS, _WORDS), max_size=3).map(tuple),
)
