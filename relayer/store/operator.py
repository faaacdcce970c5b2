"""What a person may do to one message; legality is checked where the state is, in Lua."""

from __future__ import annotations

from relayer.errors import UnknownRecord
from relayer.message import ChainId, MessageId, Record
from relayer.store import codec
from relayer.store.keys import base
from relayer.store.wire import Wire, each


class Operator(Wire):
    """Each method returns the message as it is afterwards.

    `IllegalTransition` names the present state when the move is not allowed from it;
    `UnknownRecord` when no chain's lane holds the message.
    """

    async def hold(self, message_id: MessageId) -> Record:
        """Stop working on it until it is released (waiting or ready only)."""
        return await self._operate(message_id, "hold")

    async def release_message(self, message_id: MessageId) -> Record:
        """Let a held message go on, due now."""
        return await self._operate(message_id, "release")

    async def retry(self, message_id: MessageId) -> Record:
        """Due now with a fresh count of attempts (dead, waiting or ready)."""
        return await self._operate(message_id, "retry")

    async def drop(self, message_id: MessageId) -> Record:
        """Give it up for good, unless it is retried or somebody delivers it."""
        return await self._operate(message_id, "drop")

    async def _operate(self, message_id: MessageId, step: str) -> Record:
        chain = await self.chain_of(message_id)
        if chain is None:
            raise UnknownRecord(f"no message {message_id} is stored")
        flat = await self.run("operate", chain, {"id": message_id, "step": step})
        key = f"{base(self._prefix, chain)}message:{message_id}"
        return codec.record_from(message_id, flat, key=key)

    async def chain_of(self, message_id: MessageId) -> ChainId | None:
        """The destination whose lane holds the message."""
        chains = await self.chains()
        known = await each(
            [
                self.command(
                    "HEXISTS", f"{base(self._prefix, chain)}message:{message_id}", "message"
                )
                for chain in chains
            ]
        )
        return next((chain for chain, here in zip(chains, known, strict=True) if here), None)
