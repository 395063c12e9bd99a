"""`python -m bench [NAME ...]`: run every bench, or those that are named."""

from __future__ import annotations

import argparse
import importlib
import pathlib
import sys

from bench import harness

HERE = pathlib.Path(__file__).parent


def main() -> int:
    """Run the benches; the exit code counts missed targets only when asked to."""
    found = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the node beside its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(found)}; default: all")
    parser.add_argument("--runs", type=int, default=5, help="alternating runs of each contestant (5)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full corpus sizes (1.0)")
    parser.add_argument("--quick", action="store_true", help="one run at a tenth: does it work at all")
    parser.add_argument("--long", action="store_true", help="also what takes many minutes")
    parser.add_argument("--case", default="", metavar="TEXT", help="only cases whose name has this in it")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a target is missed")
    given = parser.parse_args()
    unknown = set(given.names) - set(found)
    if unknown:
        parser.error(f"there is no bench {', '.join(sorted(unknown))}; there are: {', '.join(found)}")
    missed = 0
    for name in given.names or found:
        bench = harness.Bench(
            name,
            runs=1 if given.quick else given.runs,
            scale=0.1 if given.quick else given.scale,
            long=given.long,
            only=given.case,
        )
        importlib.import_module(f"bench.bench_{name}").run(bench)
        missed += bench.finish()
    return 1 if given.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
