"""Proof structures: the append-only keccak tree. Pure; storage is passed in."""
