"""Fuzzers: a short form of each runs as a test, the long one on demand."""
