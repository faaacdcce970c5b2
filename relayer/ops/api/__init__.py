"""The API for dApps, `/v1/`: where is my message, when will it arrive, tell me when it does."""

from relayer.ops.api.application import DappApi
from relayer.ops.api.limits import Limits
from relayer.ops.api.metering import ApiMetrics
from relayer.ops.api.ports import (
    ChainReport,
    EarlyAnswer,
    Finality,
    Native,
    Outlook,
    RouteReport,
    SignerReport,
)

__all__ = [
    "ApiMetrics",
    "ChainReport",
    "DappApi",
    "EarlyAnswer",
    "Finality",
    "Limits",
    "Native",
    "Outlook",
    "RouteReport",
    "SignerReport",
]
