"""The configuration: a TOML file, `DICOM_NODE_...` variables and flags, read into frozen settings.

Flags override the environment, which overrides the file. All mistakes are collected and told together, each
with where it stands, the value, and what is allowed. Only the daemon and the command line read this.
"""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from node import errors, model, orders
from node.config import fit as config_fit
from node.config import fit_routes, schedules, tables, when
from node.config import lines as config_lines
from node.config import values as kinds

PREFIX = "DICOM_NODE_"
FILE_VARIABLE = "DICOM_NODE_CONFIG"  # the configuration file, when no flag names one
RESERVED = frozenset({FILE_VARIABLE, "DICOM_NODE_FAILPOINT"})  # not settings

Key = tuple[str, ...]  # ("peers", "ct1", "aet")


class Mistakes(errors.ConfigError):
    """Everything that is wrong with a configuration."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)  # each a sentence, in the order of the file
        if len(mistakes) == 1:
            super().__init__(mistakes[0])
        else:
            super().__init__("\n  ".join([f"{len(mistakes)} mistakes in the configuration:", *mistakes]))


def load(
    path: pathlib.Path | None,
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> model.Settings:
    """Return the settings that file, flags (`port`, or `log.level`) and environment make together."""
    environ = environ or {}
    if path is None and environ.get(FILE_VARIABLE):
        path = pathlib.Path(environ[FILE_VARIABLE])
    reader = _Reader()
    if path is not None:
        reader.read_file(path)
    reader.read_environment(environ)
    reader.read_flags(flags or {})
    return reader.settings()


@dataclasses.dataclass(frozen=True, slots=True)
class _Where:
    """Where a value was given."""

    order: tuple[int, int]  # sorts mistakes: the file by line, then variables, then flags
    source: str  # "node.toml:12", the variable, or the flag
    in_file: bool = True  # a file's message names the key too

    def at(self, path: Key) -> str:
        return f"{self.source}: {_dotted(path)}" if self.in_file else self.source


@dataclasses.dataclass(frozen=True, slots=True)
class _Given:
    value: object  # as it came
    where: _Where


class _Reader:
    """Gathers what is given, then makes settings of it; mistakes pile up meanwhile."""

    def __init__(self) -> None:
        self._given: dict[Key, _Given] = {}
        self._overridden: list[tuple[Key, _Given]] = []  # without effect today, and tomorrow perhaps not
        self._names: dict[str, dict[str, _Where]] = {section: {} for section in tables.NAMED}
        self._mistakes: list[tuple[tuple[int, int], str]] = []
        self._label = ""
        self._base = pathlib.Path()
        self._lines: dict[Key, int] = {}
        self._coerce: dict[str, model.Coercion] = {}

    # -- gathering ------------------------------------------------------------------------------

    def read_file(self, path: pathlib.Path) -> None:
        """Take the keys of a TOML file."""
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except OSError as error:
            why = error.strerror or str(error)
            raise errors.ConfigError(
                f"the configuration file {path} cannot be read ({why}): give another with --config"
            ) from error
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise errors.ConfigError(
                f"{path}:{line}: this is not UTF-8 text: save the file as UTF-8"
            ) from error
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise errors.ConfigError(_syntax_mistake(path, text, str(error))) from error
        self._label = str(path)
        self._lines = config_lines.locate(text.replace("\r\n", "\n"))
        self._base = path.parent
        for section, value in document.items():
            self._take_section(section, value)

    def _take_section(self, section: str, value: object) -> None:
        where = self._in_file((section,))
        if section not in tables.SECTIONS:
            kind = "table" if isinstance(value, dict) else "key"
            self._unknown(where, (section,), tables.SECTIONS, f"there is no such {kind}", "the tables are")
        elif not isinstance(value, dict):
            self._mistake(
                where, f"{where.at((section,))} = {kinds.show(value)}: this is a table, write [{section}]"
            )
        elif section in tables.NAMED:
            for name, table in value.items():
                self._take_named(section, name, table)
        elif section == tables.STEPS:
            for name, steps in value.items():
                self._take_steps((section, name), steps)
        else:
            self._take_table((section,), value, tables.TABLES[(section,)])

    def _take_named(self, section: str, name: str, table: object) -> None:
        path = (section, name)
        where = self._in_file(path)
        if not isinstance(table, dict):
            self._mistake(
                where,
                f"{where.at(path)} = {kinds.show(table)}: each of these is a table, write [{section}.NAME]",
            )
        elif self._check_name(where, path):
            self._names[section][name] = where
            self._take_table(path, table, tables.NAMED[section])

    def _take_steps(self, path: Key, steps: object) -> None:
        """Keep the tables of a list as they are: who applies them checks them."""
        where = self._in_file(path)
        if not isinstance(steps, list) or not steps or not all(isinstance(step, dict) for step in steps):
            self._mistake(where, f"{where.at(path)}: these are steps, write [[{_dotted(path)}]] over each")
        elif self._check_name(where, path):
            places = (self._in_file((*path, str(number))).source for number in range(len(steps)))
            self._coerce[path[1]] = model.Coercion(path[1], tuple(steps), self._base, tuple(places))

    def _take_table(self, path: Key, table: Mapping[str, object], spec: tables.Table) -> None:
        for key, value in table.items():
            here = (*path, key)
            where = self._in_file(here)
            if key in spec.inner and not isinstance(value, dict):
                self._mistake(
                    where, f"{where.at(here)} = {kinds.show(value)}: this is a table, write [{_dotted(here)}]"
                )
            elif key in spec.lists and not (
                isinstance(value, list) and all(isinstance(v, dict) for v in value)
            ):
                are = f"these are tables, write [[{_dotted(here)}]] over each"
                self._mistake(where, f"{where.at(here)} = {kinds.show(value)}: {are}")
            elif key in spec.inner and here in tables.TABLES:
                self._take_table(here, value, tables.TABLES[here])  # type: ignore[arg-type]
            elif key not in (*spec.keys, *spec.inner, *spec.lists):
                known = [*spec.keys, *spec.inner, *spec.lists]
                self._unknown(where, here, known, "there is no such key", f"[{_dotted(path)}] has")
            else:
                self._given[here] = _Given(value, where)

    def read_environment(self, environ: Mapping[str, str]) -> None:
        """Take the variables that begin with the prefix."""
        for variable in sorted(environ):
            if variable.startswith(PREFIX) and variable not in RESERVED:
                where = _Where((1, len(self._given)), variable, in_file=False)
                parts = tuple(part.lower() for part in variable.removeprefix(PREFIX).split("__"))
                path = self._resolve(parts if len(parts) > 1 else ("node", *parts))
                kind = self._kind(path)
                if kind is None:
                    near = kinds.nearest(variable, self._variables())
                    hint = (
                        f"; did you mean {near}?"
                        if near
                        else "; a key of [section] is DICOM_NODE_SECTION__KEY"
                    )
                    self._mistake(where, f"{variable}: there is no such setting{hint}")
                else:
                    self._give(path, _Given(kind.from_text(environ[variable]), where))

    def read_flags(self, flags: Mapping[str, object]) -> None:
        """Take the flags that were given."""
        for name, value in flags.items():
            where = _Where((2, len(self._given)), "--" + re.sub(r"[._]", "-", name), in_file=False)
            path = tuple(name.split(".")) if "." in name else ("node", name)
            if self._kind(path) is None:
                raise errors.UsageError(f"{where.source}: there is no such setting")
            self._give(path, _Given(value, where))

    def _give(self, path: Key, given: _Given) -> None:
        if path in self._given:
            self._overridden.append((path, self._given[path]))
        self._given[path] = given
        new = path[0] in tables.NAMED and path[1] not in self._names[path[0]]
        if new and self._check_name(given.where, path[:2]):
            self._names[path[0]][path[1]] = given.where

    def _resolve(self, parts: Key) -> Key:
        """Variables have no case: a name in one means the file's name, whatever its case."""
        if parts[0] in tables.NAMED and len(parts) > 2:
            same = [name for name in self._names[parts[0]] if name.lower() == parts[1]]
            return (parts[0], *(same[:1] or parts[1:2]), *parts[2:])
        return parts

    def _kind(self, path: Key) -> kinds.Kind | None:
        if path[0] in tables.NAMED:
            return tables.NAMED[path[0]].keys.get(path[2]) if len(path) == 3 else None
        table = tables.TABLES.get(path[:-1])
        return table.keys.get(path[-1]) if table else None

    def _variables(self) -> list[str]:
        paths: list[Key] = [(key,) for key in tables.TABLES[("node",)].keys]
        paths += [(*path, key) for path, table in tables.TABLES.items() for key in table.keys]
        for section, names in self._names.items():
            paths += [(section, name, key) for name in names for key in tables.NAMED[section].keys]
        return [PREFIX + "__".join(path).upper() for path in paths]

    # -- making settings ------------------------------------------------------------------------

    def settings(self) -> model.Settings:
        """Return the settings, or raise all mistakes."""
        parts: dict[str, Any] = {path[-1]: self._build(path, table) for path, table in tables.TABLES.items()}
        self._check_overridden()
        retention = parts.pop("retention")
        made: dict[str, Any] = {}
        for section, table in tables.NAMED.items():
            made[section] = tuple(
                item
                for name in self._names[section]
                if (item := self._build_named(section, name, table)) is not None
            )
        if parts["storage"] is not None and retention is not None:
            parts["storage"] = dataclasses.replace(parts["storage"], retention=retention)
        fit = config_fit.Parts(
            {**parts, **made},
            {**self._names, tables.STEPS: self._coerce},
            lambda path: path in self._given,
            self._at,
        )
        config_fit.check(fit)
        fit_routes.check(fit)
        schedules.check(fit)
        if self._mistakes:
            raise Mistakes([text for _, text in sorted(self._mistakes)])
        return model.Settings(**parts, **made, coerce=tuple(self._coerce.values()))

    def _build(self, path: Key, table: tables.Table) -> Any:
        values = self._values(path, table)
        return None if values is None else table.build(**values)

    def _build_named(self, section: str, name: str, table: tables.Table) -> Any:
        path = (section, name)
        values = self._values(path, table)
        missing = [key for key in table.required if (*path, key) not in self._given]
        for key in missing:
            where = self._names[section][name]
            place = f"{where.source}: [{_dotted(path)}]" if where.in_file else where.source
            self._mistake(where, f"{place} has no {key}: give {table.keys[key].allowed}")
        inner = self._inner(path, values, table)
        if values is None or inner is None or missing:
            return None
        return table.build(name=name, **values, **inner)

    def _inner(
        self, path: Key, values: Mapping[str, object] | None, table: tables.Table
    ) -> dict[str, object] | None:
        """Return the fields that are tables of their own, or None when one of them is wrong."""
        settled = path[0] == "routes" and (values or {}).get("level") is not orders.When.INSTANCE
        facts = when.SETTLED if settled else when.ARRIVED
        found: dict[str, object] = {}
        for key in (*table.inner, *table.lists):
            given = self._given.get((*path, key))
            if given is None:
                continue
            many: Any = given.value if key in table.lists else [given.value]
            made: list[object] = []
            for number, one in enumerate(many):
                here = (*path, key, str(number)) if key in table.lists else (*path, key)
                made.append(
                    self._step(one, here) if key == "steps" else when.read(one, here, facts, self._at)
                )
            found[key] = tuple(made) if key in table.lists else made[0]
            if None in made:
                return None
        return found

    def _step(self, step: Mapping[str, object], path: Key) -> orders.StepSetting | None:
        """Keep the options of a step as they are: who applies it checks them."""
        name = step.get("step")
        if not isinstance(name, str) or not name:
            self._at(path, ': this is no step, say which one, as in step = "compress"')
            return None
        options = {key: value for key, value in step.items() if key != "step"}
        for key, value in options.items():
            if not _plain(value):
                self._at((*path, key), f" = {kinds.show(value)}: give a text, a number, or a list of these")
                return None
        return orders.StepSetting(name, options, self._in_file(path).source)

    def _values(self, path: Key, table: tables.Table) -> dict[str, object] | None:
        """Return the fields that are given, or None when one of them is wrong."""
        values: dict[str, object] = {}
        sound = True
        for key, kind in table.keys.items():
            given = self._given.get((*path, key))
            if given is not None:
                try:
                    values[table.renamed.get(key, key)] = kind.read(given.value)
                except kinds.Wrong as wrong:
                    self._wrong((*path, key), given, kind, wrong)
                    sound = False
        return values if sound else None

    def _check_overridden(self) -> None:
        """A mistake that a flag or a variable hides would come out on the day that this is left away."""
        for path, given in self._overridden:
            kind = self._kind(path)
            if kind is None:
                continue  # who gave it was told that there is no such setting
            try:
                kind.read(given.value)
            except kinds.Wrong as wrong:
                self._wrong(path, given, kind, wrong)

    # -- telling --------------------------------------------------------------------------------

    def _in_file(self, path: Key) -> _Where:
        line = config_lines.line_of(self._lines, path) or 1
        return _Where((0, line), f"{self._label}:{line}")

    def _check_name(self, where: _Where, path: Key) -> bool:
        try:
            kinds.NAME.read(path[1])
        except kinds.Wrong:
            self._mistake(where, f"{where.at(path[:1])} has {kinds.show(path[1])}: give {kinds.NAME.allowed}")
            return False
        return True

    def _wrong(self, path: Key, given: _Given, kind: kinds.Kind, wrong: kinds.Wrong) -> None:
        hint = f"; {wrong}" if str(wrong) else ""
        shown = kinds.show(given.value, kind.secret)
        self._mistake(given.where, f"{given.where.at(path)} = {shown}: give {kind.allowed}{hint}")

    def _unknown(self, where: _Where, path: Key, known: Iterable[str], what: str, list_of: str) -> None:
        near = kinds.nearest(path[-1], known)
        hint = f"did you mean {near}?" if near else f"{list_of} {', '.join(known)}"
        self._mistake(where, f"{where.at(path)}: {what}; {hint}")

    def _at(self, path: Key, text: str) -> None:
        """A mistake in how a value fits with others, or in a part of it."""
        given = self._given.get(path)
        if given is not None:
            where = given.where
        elif path[0] in self._names:
            where = self._names[path[0]][path[1]]
            if where.in_file:
                where = self._in_file(path)
        else:
            where = self._in_file(path)
        self._mistake(where, where.at(path) + text)

    def _mistake(self, where: _Where, text: str) -> None:
        self._mistakes.append((where.order, text))


def _plain(value: object) -> bool:
    """Whether a value of the file can be written down as JSON, which has no dates."""
    if isinstance(value, list):
        return all(map(_plain, value))
    if isinstance(value, Mapping):
        return all(map(_plain, value.values()))
    return not isinstance(value, datetime.date | datetime.time)


def _dotted(path: Key) -> str:
    """Return the key as it would be written in the file."""
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else kinds.show(part) for part in path)


def _syntax_mistake(path: pathlib.Path, text: str, message: str) -> str:
    found = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    if found is None:  # "(at end of document)"
        line = text.rstrip("\n").count("\n") + 1
        return f"{path}:{line}: this is not TOML: {message[:1].lower()}{message[1:]}"
    what = message[: found.start()]
    return f"{path}:{found[1]}: this is not TOML: {what[:1].lower()}{what[1:]}, column {found[2]}"
