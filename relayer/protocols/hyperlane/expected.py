"""What one chain's section says of its contracts, for `check-config --online`."""

from __future__ import annotations

from functools import partial

from relayer.adapter import Expectation
from relayer.message import ChainId
from relayer.protocols.hyperlane.settings import HyperlaneChainSettings

LOCAL_DOMAIN = ("localDomain()",)
MAILBOX = ("mailbox()",)
"""Of `MailboxClient`, which the hook and ValidatorAnnounce are."""


def expectations_of(
    name: str, chain: ChainId, section: HyperlaneChainSettings
) -> list[Expectation]:
    """The mailbox has the domain; hook and ValidatorAnnounce belong to the mailbox."""
    at, mailbox = f"chains.{name}", section.mailbox
    hook, announce = section.merkle_tree_hook, section.validator_announce
    expect = partial(Expectation, chain=chain)
    return [
        expect(f"{at}.mailbox", None, contract=mailbox, views=LOCAL_DOMAIN),
        expect(f"{at}.domain", section.domain, contract=mailbox, views=LOCAL_DOMAIN),
        expect(f"{at}.merkle_tree_hook", mailbox, contract=hook, views=MAILBOX),
        expect(f"{at}.validator_announce", mailbox, contract=announce, views=MAILBOX),
    ]
