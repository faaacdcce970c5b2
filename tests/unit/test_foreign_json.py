"""Files and answers of strangers cannot take the process down by nesting."""

from __future__ import annotations

import pytest

from relayer.errors import BadChainData
from relayer.foreign_json import parse_json
from relayer.protocols.hyperlane.checkpoints import parse_checkpoint

DEEP = b"[" * 100_000 + b"]" * 100_000


def test_deep_nesting_is_refused_before_it_is_parsed() -> None:
    """100,000 levels overflow the C stack of the standard parser; we say no first."""
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(DEEP)


def test_a_deeply_nested_checkpoint_is_bad_data() -> None:
    """A validator's file of that kind is one bad checkpoint, not the end of the relayer."""
    with pytest.raises(BadChainData):
        parse_checkpoint(DEEP)
