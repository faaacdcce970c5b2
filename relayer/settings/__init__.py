"""The operator's YAML as frozen models; the only reader of the environment and of secret files.

A mistake is named with its field, its value (never a secret's) and the way out.
"""

from relayer.settings.chain import (
    MULTICALL3,
    ChainSettings,
    EndpointSettings,
    FeeSettings,
    FinalitySettings,
    LaneSettings,
    NativeSettings,
)
from relayer.settings.explaining import Problem, parse_section, problems_in
from relayer.settings.files import Exposed, Fingerprint, exposed_files, fingerprints, held_secrets
from relayer.settings.masking import masked, secrets_in
from relayer.settings.policy import FeeRule, MatchRule, PolicySettings, body_pattern
from relayer.settings.reading import load_settings, read_tokens
from relayer.settings.regular import read_regular
from relayer.settings.service import (
    HttpSettings,
    LogSettings,
    OperatorSettings,
    RedisSettings,
    TraceSettings,
)
from relayer.settings.signing import (
    KINDS,
    AllowedTarget,
    AwsKmsSettings,
    GcpKmsSettings,
    SignerSettings,
    Web3SignerSettings,
    is_loopback,
)
from relayer.settings.values import AddressText, ExpectedDelay, Name, Section
from relayer.settings.webhooks import WebhookSettings
from relayer.settings.whole import Settings, json_schema

__all__ = [
    "KINDS",
    "MULTICALL3",
    "AddressText",
    "AllowedTarget",
    "AwsKmsSettings",
    "ChainSettings",
    "EndpointSettings",
    "ExpectedDelay",
    "Exposed",
    "FeeRule",
    "FeeSettings",
    "FinalitySettings",
    "Fingerprint",
    "GcpKmsSettings",
    "HttpSettings",
    "LaneSettings",
    "LogSettings",
    "MatchRule",
    "Name",
    "NativeSettings",
    "OperatorSettings",
    "PolicySettings",
    "Problem",
    "RedisSettings",
    "Section",
    "Settings",
    "SignerSettings",
    "TraceSettings",
    "Web3SignerSettings",
    "WebhookSettings",
    "body_pattern",
    "exposed_files",
    "fingerprints",
    "held_secrets",
    "is_loopback",
    "json_schema",
    "load_settings",
    "masked",
    "parse_section",
    "problems_in",
    "read_regular",
    "read_tokens",
    "secrets_in",
]
