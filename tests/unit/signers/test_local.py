"""Signing: equal to eth_account byte for byte, from every kind of key source, telling nothing."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from relayer.chains.fees import FeeQuote
from relayer.chains.signers import LocalSigner, load_local
from relayer.chains.signers.recovery import GROUP_ORDER
from relayer.chains.transactions import Envelope, rlp, rlp_list
from relayer.errors import ConfigInvalid
from relayer.message import Address, ChainId, Gas, Wei
from relayer.settings import SignerSettings
from tests.unit.signers.envelopes import ENVELOPES

KEY = bytes.fromhex("11" * 31 + "2f")


def _fields(envelope: Envelope) -> dict[str, Any]:
    """The same transaction as eth_account wants it."""
    fees = envelope.fees
    common: dict[str, Any] = {
        "chainId": envelope.chain_id,
        "nonce": envelope.nonce,
        "to": bytes.fromhex(envelope.to[2:]),
        "value": envelope.value,
        "data": envelope.data,
        "gas": envelope.gas,
    }
    access_list = [
        {"address": address, "storageKeys": ["0x" + key.hex() for key in keys]}
        for address, keys in envelope.access_list
    ]
    if fees.gas_price is None:
        return common | {
            "type": 2,
            "maxFeePerGas": fees.max_fee,
            "maxPriorityFeePerGas": fees.tip,
            "accessList": access_list,
        }
    typed = {"type": 1, "accessList": access_list} if access_list else {}
    return common | {"gasPrice": fees.gas_price} | typed


@settings(max_examples=60, deadline=None)
@given(ENVELOPES, st.integers(1, GROUP_ORDER - 1))
async def test_signed_bytes_equal_eth_accounts(envelope: Envelope, number: int) -> None:
    """Type 2, type 1 and legacy, with and without access lists: same bytes, hash, and sender."""
    key = number.to_bytes(32, "big")
    signer = LocalSigner(key)
    signed = await signer.sign(envelope)
    reference = Account.sign_transaction(_fields(envelope), key)
    assert signed.raw == bytes(reference.raw_transaction)
    assert signed.hash == "0x" + bytes(reference.hash).hex()
    assert signer.address == Account.from_key(key).address.lower()
    assert Account.recover_transaction(signed.raw).lower() == signer.address


async def test_signing_twice_gives_the_same_bytes() -> None:
    """A stored intent can be signed again after a crash without becoming another transaction."""
    envelope = Envelope(
        ChainId(1), 1, Address("0x" + "22" * 20), Wei(0), b"", Gas(21_000), FeeQuote(Wei(2), Wei(1))
    )
    first = await LocalSigner(KEY).sign(envelope)
    assert await LocalSigner(KEY).sign(envelope) == first


@pytest.mark.parametrize(
    ("item", "wanted"),
    [(0, "80"), (1, "01"), (127, "7f"), (128, "8180"), (b"", "80"), (b"\x00", "00")],
)
def test_rlp_of_the_edges(item: int | bytes, wanted: str) -> None:
    """Examples of the Ethereum RLP specification."""
    assert rlp(item).hex() == wanted


def test_rlp_of_long_items() -> None:
    """55 bytes have a short head, 56 a long one."""
    assert rlp(b"x" * 55)[:1].hex() == "b7"
    assert rlp(b"x" * 56)[:2].hex() == "b838"
    assert rlp_list([rlp(b"x" * 1024)])[:3].hex() == "f90403"


def test_key_file_and_variable(tmp_path: Path) -> None:
    """Hex with or without 0x and white space around it, from a file or a variable."""
    address = LocalSigner(KEY).address
    for text in (KEY.hex(), "0x" + KEY.hex() + "\n", f"  {KEY.hex().upper()} "):
        path = tmp_path / "key"
        path.write_text(text)
        assert load_local(SignerSettings(key_file=path), {}).address == address
        assert load_local(SignerSettings(key_env="RELAYER_KEY"), {"RELAYER_KEY": text}).address == (
            address
        )


def test_keystore_is_decrypted_with_its_password_file(tmp_path: Path) -> None:
    """A Web3 Secret Storage file opens with the password, line end or not."""
    keystore, password = tmp_path / "keystore.json", tmp_path / "password"
    content = Account.encrypt(KEY, "pass word", kdf="pbkdf2", iterations=2)
    keystore.write_text(json.dumps(content))
    password.write_text("pass word\n")
    chosen = SignerSettings(keystore=keystore, keystore_password_file=password)
    assert load_local(chosen, {}).address == LocalSigner(KEY).address
    password.write_text("wrong")
    with pytest.raises(ConfigInvalid, match="password is wrong"):
        load_local(chosen, {})


@pytest.mark.parametrize(
    "text", ["", "0x", "zz" * 32, KEY.hex()[:-2], KEY.hex() + "00", "00" * 32, "ff" * 32]
)
def test_bad_key_is_a_config_error_that_does_not_show_it(tmp_path: Path, text: str) -> None:
    """Whatever stands where a key should be, the error names the place and not the text."""
    path = tmp_path / "key"
    path.write_text(text)
    with pytest.raises(ConfigInvalid) as caught:
        load_local(SignerSettings(key_file=path), {})
    assert len(text) < 4 or text not in f"{caught.value} {caught.value.__cause__}"


def test_missing_sources_are_named(tmp_path: Path) -> None:
    """A file or variable that is not there is named with what to do about it."""
    with pytest.raises(ConfigInvalid, match="RELAYER_KEY is not set"):
        load_local(SignerSettings(key_env="RELAYER_KEY"), {})
    with pytest.raises(ConfigInvalid, match="No such file"):
        load_local(SignerSettings(key_file=tmp_path / "nothing"), {})
    (tmp_path / "big").write_bytes(b"0" * 100_000)
    with pytest.raises(ConfigInvalid, match="too large"):
        load_local(SignerSettings(key_file=tmp_path / "big"), {})
    (tmp_path / "text").write_text("hello")
    chosen = SignerSettings(keystore=tmp_path / "text", keystore_password_file=tmp_path / "text")
    with pytest.raises(ConfigInvalid, match="is no keystore"):
        load_local(chosen, {})


def test_signer_shows_its_address_only() -> None:
    """Neither repr nor pickle gives the key away."""
    signer = LocalSigner(KEY)
    assert KEY.hex() not in repr(signer)
    assert signer.address in repr(signer)
    with pytest.raises(TypeError):
        pickle.dumps(signer)
