"""Tests of the Scroll protocol folder."""
