"""Random histories of what is owed, played to an index beside a model that knows nothing of its tables."""

from __future__ import annotations

import datetime
import pathlib
import random
from collections.abc import Iterable

import sqlalchemy

from node import orders
from node.files import book, layout
from node.index import (
    bulk,
    db,
    desk,
    events,
    ledger,
    queue,
    remove,
    restore,
    tables,
    witness,
)
from tests import indexed

DESTINATIONS = ("pacs", "archive", "research")
S = orders.State


class History:
    """One study with two series of five instances, and whatever is done to them."""

    def __init__(self, database: db.Database, folder: pathlib.Path, seed: int) -> None:
        self.database = database
        self.data = layout.Data(folder)
        self.data.make()
        self.random = random.Random(seed)
        self.study = f"1.2.{seed}"
        self.series = [f"{self.study}.1", f"{self.study}.2"]
        self.now = indexed.START + datetime.timedelta(days=1)
        self.witness = witness.Witness(self.data)
        self.book = book.Book(self.data, "worker-1")
        self.items = [
            indexed.item(number, study=self.study, series=series, position=1000 * seed + 10 * place + number)
            for place, series in enumerate(self.series)
            for number in range(5)
        ]
        indexed.take(database, self.items)
        self.rows = {row["sop_instance"]: row for row in self._instances()}
        self.removed: list[remove.Removed] = []
        # The model: how each instance stands with each destination, and by which decision it does.
        self.standing: dict[tuple[str, str], orders.State] = {}
        self.done: list[str] = []  # what was done, for the message of a test that fails

    def _instances(self) -> list[dict[str, object]]:
        held = {item.arrival.identity.sop_instance for item in self.items}
        return [row for row in indexed.rows(self.database, tables.instance) if row["sop_instance"] in held]

    def play(self, steps: int) -> None:
        """Do so many things, and look after each whether all agrees."""
        for _ in range(steps):
            self.now += datetime.timedelta(seconds=1)
            what = self.random.choices(*zip(*_WHAT.items(), strict=True))[0]
            self.done.append(what)
            getattr(self, what)()
            self.check()

    # -- what may happen --

    def enqueue(self) -> None:
        series = self.random.choice(self.series)
        uids = [uid for uid in self.rows if uid.startswith(series + ".") and self.random.random() < 0.7]
        order = ledger.Order(
            self.random.choice(DESTINATIONS),
            self.study,
            series,
            self.random.choice(["first", "second"]),
            self.random.randrange(3),
            state=self.random.choice([S.DUE, S.DUE, S.HELD]),
        )
        again = self.random.random() < 0.3
        instances = [(int(str(self.rows[uid]["key"])), uid) for uid in uids]
        with self.database.write() as connection:
            key = ledger.enqueue(connection, order, instances, self.now, again=again, witness=self.witness)
        open_to = (None, S.DONE, S.DEAD, S.CANCELLED) if again else (None,)
        new = {uid for uid in uids if self.standing.get((uid, order.destination)) in open_to}
        assert (key is not None) == bool(new)
        self.standing |= {(uid, order.destination): S.DUE for uid in new}

    def claim(self) -> None:
        one = self._pick(S.DUE)
        if one is not None:
            with self.database.write() as connection:
                bulk.run(connection, _CLAIM, one.key)

    def record(self) -> None:
        self._answer(tell=True)

    def die(self) -> None:
        """Answers come, and the worker is killed before the index is told of them."""
        self._answer(tell=False)
        self.book.close(recorded=False)
        ledger.recover(self.database, self.data)
        assert ledger.recover(self.database, self.data) == 0, "what was told is put away"
        self.book = book.Book(self.data, "worker-1")

    def _answer(self, *, tell: bool) -> None:
        one = self._pick(S.RUNNING)
        if one is None:
            return
        with self.database.read() as connection:
            due = ledger.due(connection, one.key, 0, self.random.randrange(1, 6))
        attempts = []
        for number, each in enumerate(due):
            outcome = self.random.choice([S.DONE, S.DONE, S.DONE, S.DUE, S.DEAD])
            at = self.now + datetime.timedelta(microseconds=number)
            attempt = orders.Attempt(
                each.key, at, outcome, 0, "1.2.840.10008.1.2.1", 1000, 0.1, f"said {outcome}"
            )
            self.book.write(one, each.sop_instance, attempt)
            attempts.append(attempt)
            self.standing[each.sop_instance, one.destination] = outcome
        if tell:
            with self.database.write() as connection:
                ledger.record(connection, one.key, attempts, self.now)
                ledger.record(connection, one.key, attempts, self.now)  # changes nothing

    def finish(self) -> None:
        one = self._pick(S.RUNNING)
        if one is None:
            return
        with self.database.write() as connection:
            before = ledger.get(connection, one.key)
            assert ledger.finish(connection, one.key, one.fence - 1, self.now) is S.RUNNING
            assert ledger.get(connection, one.key) == before, "an old fence changes nothing"
            verify = self.random.random() < 0.4
            state = ledger.finish(
                connection, one.key, one.fence, self.now, verify=verify, witness=self.witness
            )
        assert state is not S.RUNNING

    def give_up(self) -> None:
        one = self._pick(S.RUNNING)
        if one is not None:
            self._all(one, (S.DUE,), S.DEAD)
            with self.database.write() as connection:
                ledger.give_up(connection, one.key, self.now, "poison", witness=self.witness)

    def verify(self) -> None:
        one = self._pick(S.VERIFYING)
        if one is None:
            return
        with self.database.write() as connection:
            members = [each for each in ledger.members(connection, one.key) if each.state is S.DONE]
            missing = [each for each in members if self.random.random() < 0.2]
            kept = [each.key for each in members if each not in missing]
            lost = [each.key for each in missing]
            ledger.verified(connection, one.key, kept, lost, self.now, error="gone", witness=self.witness)
        for each in missing:
            self.standing[each.sop_instance, one.destination] = S.DUE

    def remove(self) -> None:
        if len(self.rows) < 4:
            return
        uid = self.random.choice(sorted(self.rows))
        with self.database.write() as connection:
            self.removed += remove.instances(
                connection, [int(str(self.rows.pop(uid)["key"]))],
                who="somebody", why="a test", now=self.now, witness=self.witness,
            )  # fmt: skip
        for (of, destination), state in list(self.standing.items()):
            if of == uid and state in (S.DUE, S.DEAD):
                self.standing[of, destination] = S.CANCELLED

    def hold(self) -> None:
        self._act(lambda at, chosen: at.hold(chosen))

    def release(self) -> None:
        self._act(lambda at, chosen: at.release(chosen))

    def retry(self) -> None:
        self._act(lambda at, chosen: at.retry(chosen))

    def replay(self) -> None:
        one = self._act(lambda at, chosen: at.replay(chosen))
        if one is not None:
            self._all(one, (S.DEAD,), S.DUE)

    def cancel(self) -> None:
        one = self._any()
        if one is not None:
            self._all(one, (S.DUE, S.DEAD), S.CANCELLED)
            self._on(one, lambda at, chosen: at.cancel(chosen))

    def move(self) -> None:
        one = self._any()
        if one is None:
            return
        to = self.random.choice(DESTINATIONS)
        if to != one.destination and one.state in (*orders.OPEN, S.DEAD):
            left = [uid for uid in self._uids(one) if self.standing[uid, one.destination] in (S.DUE, S.DEAD)]
            self._all(one, (S.DUE, S.DEAD), S.CANCELLED)
            for uid in left:
                if self.standing.get((uid, to)) not in (S.DONE, S.DUE):
                    self.standing[uid, to] = S.DUE
        self._on(one, lambda at, chosen: at.move(chosen, to))

    def resend(self) -> None:
        one = self._any()
        if one is not None:
            for uid in self._uids(one):
                if uid in self.rows:
                    self.standing[uid, one.destination] = S.DUE
            self._on(one, lambda at, chosen: at.resend(chosen))

    def prioritise(self) -> None:
        self._act(lambda at, chosen: at.prioritise(chosen, orders.Priority.URGENT))

    # -- parts of them --

    def _consignments(self) -> list[orders.Consignment]:
        with self.database.read() as connection:
            chosen = queue.Chosen(uid=self.study)
            return [one.consignment for one in queue.consignments_of(connection, chosen, limit=10_000)]

    def _pick(self, state: orders.State) -> orders.Consignment | None:
        found = [one for one in self._consignments() if one.state is state]
        return self.random.choice(found) if found else None

    def _any(self) -> orders.Consignment | None:
        found = self._consignments()
        return self.random.choice(found) if found else None

    def _uids(self, one: orders.Consignment) -> list[str]:
        with self.database.read() as connection:
            return [each.sop_instance for each in ledger.members(connection, one.key)]

    def _all(self, one: orders.Consignment, states: Iterable[orders.State], to: orders.State) -> None:
        for uid in self._uids(one):
            if self.standing[uid, one.destination] in states:
                self.standing[uid, one.destination] = to

    def _act(self, do: object) -> orders.Consignment | None:
        one = self._any()
        if one is not None:
            self._on(one, do)
        return one

    def _on(self, one: orders.Consignment, do: object) -> None:
        with self.database.write() as connection:
            at = desk.Desk(connection, who="somebody", why="a test", now=self.now, witness=self.witness)
            do(at, queue.Chosen(consignment=one.key))  # type: ignore[operator]

    # -- what must be so --

    def check(self) -> None:
        """The rows are those of the model, and the counters and states are those of the rows."""
        one = tables.consignment.c
        with self.database.read() as connection:
            rows = connection.execute(
                sqlalchemy.select(tables.delivery, one.key.label("of"))
                .outerjoin(tables.consignment, one.key == tables.delivery.c.consignment_key)
                .where(tables.delivery.c.sop_instance.like(f"{self.study}.%"))
            ).all()
        standing = {(row.sop_instance, row.destination): S(row.state) for row in rows}
        assert standing == self.standing, self.done
        mine: dict[int, list[str]] = {}
        for row in rows:
            mine.setdefault(row.of, []).append(row.state)
        known = self._consignments()
        assert {each.key for each in known} == set(mine), self.done
        for each in known:
            states = mine[each.key]
            counted = (each.total, each.done, each.dead, each.cancelled)
            assert counted == (len(states), *(states.count(s) for s in ("done", "dead", "cancelled"))), (
                self.done
            )
            self._state(each, states.count("due"))

    def _state(self, one: orders.Consignment, due: int) -> None:
        if due:
            assert one.state in (S.DUE, S.HELD, S.RUNNING), self.done
        elif one.state is not S.RUNNING:
            good = {S.DEAD} if one.dead else {S.DONE, S.CANCELLED} if one.done else {S.CANCELLED}
            good |= {S.VERIFYING} if one.done else set()
            assert one.state in good, self.done

    def end(self) -> None:
        """No lane is at anything any more, as after every stop."""
        while (one := self._pick(S.RUNNING)) is not None:
            with self.database.write() as connection:
                ledger.finish(connection, one.key, one.fence, self.now, witness=self.witness)
        self.check()
        self.book.close()

    def rebuilt(self, target: db.Database) -> list[str]:
        """Make the same anew from the files alone; what could not be taken in."""
        gone = {one.sop_instance for one in self.removed}
        with target.write() as connection:
            restore.deletions(connection, [restore.Deleted(one, None) for one in self.removed])
        indexed.take(target, [one for one in self.items if one.arrival.identity.sop_instance not in gone])
        skipped: list[str] = []
        events.make(self.data, target, lambda what, why: skipped.append(f"{what}: {why}"))
        return skipped


_CLAIM = "UPDATE consignment SET state = 'running', claim = 'worker-1', fence = fence + 1 WHERE key = ?"
_WHAT = {
    "enqueue": 6, "claim": 6, "record": 8, "die": 2, "finish": 5, "give_up": 1, "verify": 3, "remove": 1,
    "hold": 1, "release": 2, "retry": 1, "replay": 2, "cancel": 1, "move": 1, "resend": 1, "prioritise": 1,
}  # fmt: skip
