"""Local chains with the real contracts, for the demo, the tests and the benchmarks.

Every key in here is a public test key; nothing of this package runs against a real network.
"""
