"""Fuzzers: a short form of each runs as a test, the long one on demand."""

# Tests in CI stop at a number, not at a time: a faster machine must not be the first to try what comes next.
NO_END = 1 << 62
