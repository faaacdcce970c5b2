"""The ten funded accounts of every anvil node, and who plays what with them.

Source: anvil's default mnemonic "test test test test test test test test test test test junk",
path m/44'/60'/0'/0/i. These keys are public; whoever uses them elsewhere loses his money.
"""

from __future__ import annotations

from dataclasses import dataclass

from coincurve import PrivateKey

from relayer.keccak import keccak256
from relayer.message import Address


@dataclass(frozen=True, slots=True)
class Account:
    """An address with its key."""

    address: Address
    secret: bytes

    @classmethod
    def of(cls, secret: bytes) -> Account:
        """The account of a 32-byte secp256k1 secret."""
        public = PrivateKey(secret).public_key.format(compressed=False)
        return cls(Address("0x" + keccak256(public[1:])[12:].hex()), secret)

    def sign_personal(self, digest: bytes) -> bytes:
        """EIP-191 `personal_sign` of a 32-byte digest: 65 bytes r, s, v with v 27 or 28."""
        wrapped = keccak256(b"\x19Ethereum Signed Message:\n32" + digest)
        signature = PrivateKey(self.secret).sign_recoverable(wrapped, hasher=None)
        return signature[:64] + bytes([27 + signature[64]])


ACCOUNTS = tuple(
    Account.of(bytes.fromhex(secret))
    for secret in (
        "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
        "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
        "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
        "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
        "47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
        "8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
        "92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e",
        "4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356",
        "dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97",
        "2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6",
    )
)

DEPLOYER = ACCOUNTS[0]
SENDERS = ACCOUNTS[1:3]
"""Who dispatches test traffic."""
RELAYERS = ACCOUNTS[3:5]
"""Whose keys the relayer gets."""
VALIDATORS = ACCOUNTS[5:8]
WITHDRAWERS = ACCOUNTS[5:7]
"""Who withdraws where `SENDERS` are at work; never on a chain of the validators'."""
ANNOUNCER = ACCOUNTS[8]
"""Pays for the validators' announcements."""
