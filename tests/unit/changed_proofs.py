"""Random changes of state proofs, for tests that none of them is taken."""

from __future__ import annotations

import random


def changed(nodes: list[bytes], rng: random.Random) -> list[bytes]:
    """One change somewhere in a proof."""
    copy = list(nodes)
    place = rng.randrange(len(copy))
    node = bytearray(copy[place])
    match rng.randrange(7):
        case 0:
            node[rng.randrange(len(node))] ^= 1 << rng.randrange(8)
        case 1:
            del node[rng.randrange(len(node)) :]
        case 2:
            node += rng.randbytes(rng.randrange(1, 40))
        case 3:
            start = rng.randrange(len(node))
            node[start : start + 32] = rng.randbytes(32)
        case 4:
            del copy[place]
            return copy
        case 5:
            copy.insert(place, rng.choice([*nodes, rng.randbytes(rng.randrange(1, 600))]))
            return copy
        case _:
            rng.shuffle(copy)
            return copy
    copy[place] = bytes(node)
    return copy
