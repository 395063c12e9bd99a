"""Fuzzers: a short form of each runs as a test, the long one on demand."""

from __future__ import annotations

import argparse
import pathlib
import random

# Tests in CI stop at a number, not at a time: a faster machine must not be the first to try what comes next.
NO_END = 1 << 62


def options(about: str | None) -> argparse.ArgumentParser:
    """What every fuzzer is told on the command line."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--most", type=int, default=NO_END, help="end after so many, whatever the time")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("fuzz-failures"))
    parser.add_argument("--replay", type=pathlib.Path)
    return parser
