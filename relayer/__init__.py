"""Carries messages between layer-2 chains, from an outbox to an inbox. The walk of one message:

1. `pipeline.follower` reads the final blocks of a chain once, for every bridge on it,
2. the bridge's `protocols.<name>` adapter decodes the logs into facts: messages, leaves, roots,
3. `store` keeps the facts, then the cursor moves; the message is `waiting` in its lane.
4. `pipeline.prover` asks the adapter, in batches, what each due message needs next:
   a `Wait` with a reason and a wake-up, or a `Call` with a proof checked against the known root.
5. `pipeline.submitter` simulates calls and packs them into transactions, stores the intent,
6. `chains` signs, prices, broadcasts and replaces it until it is mined: `included`.
7. The destination's follower reads the inbox's own event in a final block: `delivered`.
8. `pipeline.auditor` compares what is stored with the chains' own counts and heals the gaps.
9. Whatever fails is told apart by `errors`, tried again with a deadline, or kept for a person.
10. `ops` shows all of it: `relayer show <id>`, `/v1/messages/<id>`, `/metrics`.
"""

from __future__ import annotations

__version__ = "0.1.0"
