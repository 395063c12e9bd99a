"""What `edit` does, apart from its words: it is loaded without what reads and explains these.

A folder of small files is edited in less time than the command line's library takes to load.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from node import errors
from node.commands import output

if TYPE_CHECKING:
    from node.dicom import edit as edits
    from node.steps import coerce, customise

_ASSIGNMENT = re.compile(r'((?:[^="]|"[^"]*")+?)(?::([A-Z]{2}))?=(.*)', re.DOTALL)
_SHOWN = 60  # characters of a value in the diff


def run(
    paths: Sequence[pathlib.Path],
    *,
    sets: Sequence[str] = (),
    remove: Sequence[str] = (),
    empty: Sequence[str] = (),
    steps: pathlib.Path | None = None,
    remap: str | None = None,
    out: pathlib.Path | None = None,
    in_place: bool = False,
    dry_run: bool = False,
    together: bool = False,
    overwrite: bool = False,
    original: str | None = None,
    as_json: bool = False,
) -> None:
    """Edit the files below the paths as the command's options say."""
    if (out is not None) + in_place + dry_run != 1:
        raise errors.UsageError("say where the results go: exactly one of --out DIR, --in-place, --dry-run")
    coercion = _coercion(sets, remove, empty, steps, remap, original)
    from node.commands import finding
    from node.steps import customise

    found = [(path, _root(path, paths)) for path, _ in finding.files(paths)]
    chosen = list(customise.tasks(found, out))
    order = customise.Order(original=coercion.original, overwrite=overwrite, explain=dry_run)
    doing: Callable[..., Iterator[customise.Result]] = customise.each
    if dry_run:
        doing = customise.look
        if not as_json:
            print("\n".join(f"# {said}" for said in coercion.descriptions))
    elif together:
        doing = customise.together
    with output.progress("editing", len(chosen), shown=not (as_json or dry_run)) as advance:
        results = doing(_counted(chosen, advance), coercion.program, order)
        counts = _report(results, as_json=as_json, dry_run=dry_run)
    refused, edited = counts[customise.Outcome.REFUSED], counts[customise.Outcome.EDITED]
    if refused:
        nothing = dry_run or (together and not edited)
        done = "nothing was written" if nothing else f"{edited} others are edited"
        raise errors.Permanent(f"{refused} of {len(chosen)} files were refused and are as they were; {done}")


def _counted(chosen: Iterable[customise.Task], advance: Callable[[int], object]) -> Iterator[customise.Task]:
    """The tasks; the bar moves when the next one is asked for."""
    for task in chosen:
        yield task
        advance(1)


def parse_assignment(text: str) -> Mapping[str, object]:
    """Read PATH[:VR]=VALUE; a backslash parts values."""
    found = _ASSIGNMENT.fullmatch(text)
    if found is None:
        raise errors.UsageError(f"--set {text!r}: write PATH=VALUE, as in PatientID=R-17")
    step: dict[str, object] = {"set": found[1].strip(), "to": found[3]}
    if found[2]:
        step["vr"] = found[2]
    return step


def read_steps(path: pathlib.Path) -> list[Mapping[str, object]]:
    """Read the [[step]] tables of a TOML file."""
    import tomllib

    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise errors.UsageError(f"--steps {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise errors.UsageError(f"--steps {path} is no TOML: {error}") from error
    found = tables.pop("step", [])
    if tables or not isinstance(found, list) or not all(isinstance(step, dict) for step in found):
        named = ", ".join(tables) or "step"
        raise errors.UsageError(f"--steps {path}: {named} is not expected; write one [[step]] table per step")
    return found


def _coercion(
    sets: Sequence[str],
    remove: Sequence[str],
    empty: Sequence[str],
    steps: pathlib.Path | None,
    remap: str | None,
    original: str | None,
) -> coerce.Coercion:
    """Everything that was asked for, general things first: of two that meet, the later one counts."""
    asked: list[tuple[str, Mapping[str, object]]] = []
    if remap is not None:
        asked.append(("--remap-uids", {"remap": remap}))
    if steps is not None:
        asked += [(f"{steps} step {number}", step) for number, step in enumerate(read_steps(steps), 1)]
    asked += [(f"--empty {path}", {"empty": path}) for path in empty]
    asked += [(f"--remove {path}", {"remove": path}) for path in remove]
    asked += [(f"--set {text}", parse_assignment(text)) for text in sets]
    if not asked:
        raise errors.UsageError("nothing to do: give --set, --remove, --empty, --remap-uids or --steps")
    if original is not None:
        asked.append(("--original", {"original": original}))
    from node.steps import coerce

    base = steps.parent if steps is not None else pathlib.Path()
    return coerce.ready([step for _, step in asked], base=base, names=[name for name, _ in asked])


def _root(path: pathlib.Path, named: Sequence[pathlib.Path]) -> pathlib.Path:
    """The folder on the command line that a file was found below; a file that was named is its own."""
    return next(root for root in named if path == root or root in path.parents)


def _report(
    results: Iterator[customise.Result], *, as_json: bool, dry_run: bool
) -> Counter[customise.Outcome]:
    from node.steps import customise

    counts: Counter[customise.Outcome] = Counter()
    notes: Counter[str] = Counter()
    for result in results:
        counts[result.outcome] += 1
        notes.update(result.notes)
        if as_json:
            output.line(_as_json(result))
        elif result.outcome is customise.Outcome.REFUSED:
            print(f"{result.task.source}: {result.why}", file=sys.stderr)
        elif dry_run and result.outcome is customise.Outcome.READY:
            print("\n".join([str(result.task.source), *map(difference, result.differences)]))
    if not as_json:
        for note, times in notes.items():
            print(f"{note} ({times} files)", file=sys.stderr)
        print(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "no files")
    return counts


def difference(one: edits.Difference) -> str:
    """One element before and after, in a line."""
    place = f"  ({one.tag >> 16:04X},{one.tag & 0xFFFF:04X}) {one.vr or '  '} {one.path}"
    if one.change == "removed":
        return f"{place}: {_shown(one.before)} removed"
    if one.change == "inserted":
        return f"{place}: inserted {_shown(one.after)}"
    return f"{place}: {_shown(one.before)} -> {_shown(one.after)}"


def _shown(value: object) -> str:
    text = "(empty)" if value is None else repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _as_json(result: customise.Result) -> dict[str, object]:
    return {
        "file": str(result.task.source),
        "target": str(result.task.target),
        "outcome": result.outcome.value,
        "why": result.why,
        "notes": list(result.notes),
        "differences": [
            {key: _plain(value) for key, value in dataclasses.asdict(one).items()}
            for one in result.differences
        ],
    }


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | None) else str(value)
