"""The process that converts series for another: it is given a request, and answers with a report.

What it reads was made by strangers, and much of what reads it is written in C. It runs under limits and may
die at any time: what it had not finished then lies in a folder that nobody takes for a result.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Mapping
from typing import Any

from node import converting, errors, working

LARGEST = 1 << 44  # bytes of a file: a volume of any size that a disk holds


def main(number: int, idle: float) -> None:
    """Serve requests over a socket until its other end closes, or nothing came for so many seconds."""
    working.serve(number, idle, LARGEST, _handle, lambda: None)


def _handle(request: Mapping[str, Any], given: list[int]) -> Mapping[str, Any]:
    """Do one; the report goes into the second descriptor, for it may be long."""
    asked, answered = given
    with open(asked, "rb", closefd=False) as file:
        # From the process that started this one, and from nobody else: see converters.
        wanted = pickle.load(file)  # noqa: S301
    if not isinstance(wanted, converting.Request):
        raise errors.UsageError("that is no request to convert something")
    report = converting.convert(wanted)
    said = json.dumps(report.as_json()).encode()
    os.pwrite(answered, said, 0)
    return {"size": len(said)}


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
