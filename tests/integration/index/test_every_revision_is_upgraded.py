"""The way of a database to this program's revision, from every revision there ever was."""

from __future__ import annotations

import pathlib
import re
import sqlite3
import subprocess
import sys

import pytest
import sqlalchemy

from node import errors
from node.index import compare, db, decisions, keys, migrate, progress, tables
from tests import indexed

EARLIER = [revision for revision in migrate.revisions() if revision != tables.REVISION]


def _schema(database: db.Database) -> dict[tuple[str, str], list[str]]:
    """Every table and index as its clauses in any order, for the order of constraints says nothing."""
    with database.read() as connection:
        found = connection.exec_driver_sql("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {
            (kind, name): sorted(re.split(r", (?![^(]*\))", re.sub(r"\s+|(?<=\()\s|\s(?=\))", " ", sql)))
            for kind, name, sql in found
            if name != "alembic_version"
        }


def _clauses(database: db.Database) -> dict[tuple[str, str], list[str]]:
    return {
        name: sorted(word for clause in clauses for word in re.findall(r"[^\s(),]+", clause))
        for name, clauses in _schema(database).items()
    }


def test_the_program_works_with_the_last_revision() -> None:
    assert migrate.revisions()[-1] == tables.REVISION


def test_alembic_sees_one_line_of_revisions() -> None:
    import alembic.config
    import alembic.script

    settings = alembic.config.Config()
    settings.set_main_option("script_location", str(migrate.scripts()))
    line = [one.revision for one in alembic.script.ScriptDirectory.from_config(settings).walk_revisions()]
    assert tuple(reversed(line)) == migrate.revisions()


def test_the_scripts_make_the_tables_that_a_new_database_gets(tmp_path: pathlib.Path) -> None:
    fresh = indexed.sqlite(tmp_path, "fresh.db")
    scripted = db.open(f"sqlite:///{tmp_path / 'scripted.db'}")
    migrate.run(scripted, tables.REVISION)
    assert _clauses(scripted) == _clauses(fresh)
    assert indexed.rows(scripted, tables.counter) == indexed.rows(fresh, tables.counter)
    assert indexed.rows(scripted, tables.meta) == indexed.rows(fresh, tables.meta)


def test_the_scripts_make_the_tables_on_postgresql(server: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    database = db.open(server)
    try:
        migrate.run(database, tables.REVISION)
        assert migrate.status(database).pending == ()
        with database.read() as connection:
            context = MigrationContext.configure(connection)
            assert compare_metadata(context, tables.metadata) == []
    finally:
        with database.write() as connection:
            tables.metadata.drop_all(connection)
            connection.execute(sqlalchemy.text("DROP TABLE IF EXISTS alembic_version"))
        database.close()


def test_a_second_start_finds_nothing_to_do_without_alembic(tmp_path: pathlib.Path) -> None:
    indexed.sqlite(tmp_path).close()
    program = (
        "import sys; from node.index import db, migrate; "
        f"assert migrate.upgrade(db.open('sqlite:///{tmp_path / 'index.db'}'), print).pending == (); "
        "assert 'alembic' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("revision", migrate.revisions())
def test_a_database_of_every_revision_with_rows_is_upgraded(tmp_path: pathlib.Path, revision: str) -> None:
    """Rows of that time are kept beside this test as `rows-NNNN.sql`, written when a revision is made."""
    database = db.open(f"sqlite:///{tmp_path / 'index.db'}")
    migrate.run(database, revision)
    database.close()
    kept = pathlib.Path(__file__).with_name(f"rows-{revision}.sql")
    assert kept.exists(), f"write {kept.name}: INSERT statements for every table of revision {revision}"
    with sqlite3.connect(tmp_path / "index.db") as raw:
        raw.executescript(kept.read_text())
        names = {row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        before = {name: raw.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}
        counted = dict(raw.execute("SELECT name, value FROM counter"))
    raw.close()
    assert min(before.values()) > 0, "a table without a row proves nothing"
    database = db.open(f"sqlite:///{tmp_path / 'index.db'}")
    said: list[str] = []
    assert migrate.upgrade(database, said.append).pending == ()
    after = {
        name: len(indexed.rows(database, tables.metadata.tables[name]))
        for name in (names - {"counter"}) & set(tables.metadata.tables)  # a revision may bring counters
    }
    counters = {row["name"]: row["value"] for row in indexed.rows(database, tables.counter)}
    assert counters == dict.fromkeys(keys.COUNTED, 0) | counted
    # Forwarding came with 0004: where its router begins is a row that was not there before.
    brought = {"progress": 1} if revision < "0004" else {}
    assert after == {name: before[name] + brought.get(name, 0) for name in after}
    assert compare.compare(database, database) == []
    copies = list(tmp_path.glob("index.db.0*Z"))
    assert len(copies) == (revision != tables.REVISION)
    assert bool(said) == (revision != tables.REVISION)


@pytest.mark.parametrize("revision", [revision for revision in EARLIER if revision < "0004"])
def test_what_was_held_before_there_was_forwarding_is_not_sent_on(
    tmp_path: pathlib.Path, revision: str
) -> None:
    database = db.open(f"sqlite:///{tmp_path / 'index.db'}")
    migrate.run(database, revision)
    with sqlite3.connect(tmp_path / "index.db") as raw:
        raw.executescript(pathlib.Path(__file__).with_name(f"rows-{revision}.sql").read_text())
    raw.close()
    migrate.upgrade(database)
    with database.read() as connection:
        assert decisions.unsettled(connection) == []
        assert progress.load(connection, "router") == "3"
    settled = [(row["revision"], row["settled_instances"]) for row in indexed.rows(database, tables.series)]
    assert settled == [(1, row["instances"]) for row in indexed.rows(database, tables.series)]
    database.close()


def test_an_upgrade_that_is_due_copies_the_file_first(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = indexed.sqlite(tmp_path)
    indexed.take(database, [indexed.item(1)])
    scripts = _with_another_revision(tmp_path, "op.execute('ALTER TABLE meta ADD COLUMN extra TEXT')")
    monkeypatch.setattr(migrate, "scripts", lambda: scripts)
    monkeypatch.setattr(tables, "REVISION", "9999")
    (tmp_path / "index.db.0001.20260101T000000Z.partial").write_bytes(b"of an upgrade that was interrupted")
    said: list[str] = []
    assert migrate.upgrade(database, said.append).current == "9999"
    assert not list(tmp_path.glob("*.partial"))
    assert any(line.startswith("copying") for line in said)
    (copy,) = tmp_path.glob(f"index.db.{migrate.revisions()[-2]}.*Z")
    with sqlite3.connect(copy) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == (migrate.revisions()[-2],)
        assert raw.execute("SELECT count(*) FROM instance").fetchone() == (1,)
    raw.close()
    database.close()


def test_an_upgrade_that_breaks_off_leaves_the_revision_before(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = indexed.sqlite(tmp_path)
    known = tables.REVISION
    before = _schema(database)
    broken = "op.execute('ALTER TABLE meta ADD COLUMN extra TEXT'); raise KeyboardInterrupt"
    monkeypatch.setattr(migrate, "scripts", lambda: _with_another_revision(tmp_path, broken))
    monkeypatch.setattr(tables, "REVISION", "9999")
    with pytest.raises(KeyboardInterrupt):
        migrate.upgrade(database)
    assert migrate.status(database).current == known
    assert _schema(database) == before
    database.close()


def _with_another_revision(folder: pathlib.Path, body: str) -> pathlib.Path:
    import shutil

    real = pathlib.Path(migrate.__file__).parents[2] / "migrations"
    last = max(path.name[:4] for path in (real / "versions").glob("[0-9]*.py"))
    scripts = folder / "scripts"
    shutil.rmtree(scripts, ignore_errors=True)
    shutil.copytree(real, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "9999_test.py").write_text(
        f"from alembic import op\nrevision = '9999'\ndown_revision = '{last}'\n"
        f"\n\ndef upgrade():\n    {body}\n"
    )
    return scripts


def test_a_database_of_a_newer_program_is_refused(tmp_path: pathlib.Path) -> None:
    database = indexed.sqlite(tmp_path)
    with database.write() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = '9998'"))
    with pytest.raises(errors.DatabaseNewer, match=r"revision 9998.*newer program"):
        migrate.upgrade(database)
    database.close()


def test_two_starts_at_once_make_one_database(tmp_path: pathlib.Path) -> None:
    program = (
        "from node.index import db, migrate; "
        f"d = db.open('sqlite:///{tmp_path / 'index.db'}'); assert migrate.upgrade(d).pending == ()"
    )
    children = [subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) for _ in range(3)]
    assert [(child.communicate()[1], child.returncode) for child in children] == [(b"", 0)] * 3
