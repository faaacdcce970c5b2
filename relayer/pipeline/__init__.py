"""The walk of a message: follow, prove, submit, audit. Knows no protocol by name."""
