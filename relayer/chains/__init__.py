"""Chains: reading them through several endpoints, pricing, signing and sending transactions."""

from relayer.chains.client import ChainClient
from relayer.chains.health import EndpointHealth

__all__ = ["ChainClient", "EndpointHealth"]
