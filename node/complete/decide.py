"""From what has come to what is owed: the values that routes ask for are read, and orders made of effects."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import sqlalchemy

from node import completeness, errors, headers, log, log_forwarding, model, orders, routes
from node.files import layout, live
from node.index import decisions, lanes, ledger, series
from node.queue import groups
from node.steps import presented

Lanes = Mapping[str, orders.Lane]

_REFUSALS = 5  # times that the disk may refuse a header until the routes are asked without it
_TRIES = 3  # instances of a series whose header is tried until one can be read


@dataclasses.dataclass(frozen=True, slots=True)
class Rulebook:
    """What the configuration says about forwarding, ready to be asked."""

    routing: orders.Routing  # how routes are gone through
    routes: tuple[orders.Route, ...]  # in order
    policies: tuple[orders.Policy, ...]  # of completeness, in order
    groups: Mapping[str, orders.Group]  # by name
    peers: Mapping[str, model.Peer]  # by name
    calling: str  # our AE title
    tls: model.TlsSettings  # our identity where a peer is called over TLS
    needed: frozenset[str]  # elements that the routes look at
    sorting: bool = False  # a route asks how a series sorts

    @classmethod
    def of(cls, settings: model.Settings) -> Rulebook:
        """What these settings say."""
        return cls(
            settings.routing,
            settings.routes,
            settings.completeness,
            {one.name: one for one in settings.groups},
            {one.name: one for one in settings.peers},
            settings.node.aet,
            settings.tls,
            routes.needed(settings.routes),
            routes.ask_sorting(settings.routes),
        )

    def has(self, level: orders.When) -> bool:
        """Whether there are routes of this level."""
        return any(route.level is level for route in self.routes)

    def policy(self, of: series.Facts) -> orders.Policy:
        """What settles a series."""
        return completeness.policy(self.policies, peer=of.peer, source=of.source, modality=of.modality)


@dataclasses.dataclass(frozen=True, slots=True)
class Owed:
    """An order, and which instances of its series it is for."""

    order: ledger.Order  # what goes where, and how
    members: tuple[str, ...] = ()  # of its group: what one of them has or is owed, no other gets


class Decider:
    """Reads headers and asks the routes; used by one thread."""

    def __init__(self, data: layout.Data, rulebook: Rulebook) -> None:
        self.rulebook = rulebook  # replaced at a reload
        self._data = data
        self._headers = headers.Headers(data)
        self._refused: dict[str, int] = {}  # times that the disk did, by SOP Instance UID

    # -- what is known ------------------------------------------------------------------------------

    def known(
        self,
        held: model.Instance,
        *,
        peer: str = "",
        verdict: orders.Completeness | None = None,
        instances: int | None = None,
        sorting: Sequence[str] = (),
    ) -> routes.Facts:
        """What routes may ask of an instance, as it is presented; raises NodeError when it cannot be read."""
        needed = self.rulebook.needed
        try:
            elements = self._headers.texts(held, needed) if needed else {}
        except (errors.NodeError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - the edge: a header that breaks its reader is still sent
            log.unexpected(where=f"routes for {held.identity.sop_instance}", error=error)
            elements = {}
        source, called, address = held.source, "", ""
        try:
            arrival = layout.read_head(self._data.place(held.path))[0].arrival
            called, address, peer = arrival.called, arrival.address, arrival.peer
        except (errors.BadData, OSError):
            pass  # a file that somebody put there: its row knows the sender at least
        return routes.facts(
            elements,
            source=source,
            called=called,
            peer=peer,
            address=address,
            verdict=verdict,
            instances=instances,
            sorting=sorting,
        )

    def sorting(self, connection: sqlalchemy.Connection, key: int) -> tuple[str, ...]:
        """What sorting says of a series, where a route asks."""
        if not self.rulebook.sorting:
            return ()
        from node.index import frames  # with arrays, which most routers can do without

        try:
            return frames.sorted_as(connection, key)
        except sqlalchemy.exc.SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001 - the edge: what cannot be sorted is still sent
            log.unexpected(where=f"sorting the series of row {key}", error=error)
            return ()

    def of_series(
        self, connection: sqlalchemy.Connection, of: series.Facts, verdict: orders.Completeness
    ) -> routes.Facts:
        """What routes may ask of a settled series: its first instance speaks for it."""
        sorting = self.sorting(connection, of.key)
        for held in decisions.first(connection, of.key, _TRIES):
            try:
                return self.known(
                    held, peer=of.peer, verdict=verdict, instances=of.instances, sorting=sorting
                )
            except errors.NodeError as error:
                self._unread(held, error)
        return routes.facts(
            {},
            source=of.source,
            peer=of.peer,
            verdict=verdict,
            instances=of.instances,
            sorting=sorting,
        )

    def of_instance(self, held: model.Instance) -> routes.Facts:
        """What routes may ask of an instance that is sent on as it comes."""
        try:
            return self.known(held)
        except errors.NodeError as error:
            self._unread(held, error)
            return routes.facts({}, source=held.source)

    def _unread(self, held: model.Instance, error: errors.NodeError) -> None:
        """A header cannot be read; raises again what may be over in a moment, for nobody decides twice."""
        identity = held.identity
        if isinstance(error, errors.Transient):
            refused = self._refused.get(identity.sop_instance, 0) + 1
            if refused < _REFUSALS:
                self._refused[identity.sop_instance] = refused
                raise error
        self._refused.pop(identity.sop_instance, None)
        log_forwarding.header_unread(
            study=identity.study,
            series=identity.series,
            sop_instance=identity.sop_instance,
            error=presented.discreet(error),
        )

    # -- what follows -------------------------------------------------------------------------------

    def follow(
        self,
        effects: Sequence[routes.Effect],
        known_lanes: Lanes,
        *,
        study: str,
        series: str,
        revision: int,
        verdict: orders.Completeness | None,
        why: str = "",
    ) -> tuple[list[decisions.Decision], list[Owed]]:
        """What is written down as decided, and what is owed by it; `verdict` None: it did not settle yet."""
        made: list[decisions.Decision] = []
        owed: list[Owed] = []
        for effect in effects:
            chosen = [self._chosen(name, effect, known_lanes, series) for name in effect.destinations]
            held = _hold(effect, verdict, why)
            for destination, group, members in chosen:
                order = ledger.Order(
                    destination=destination,
                    study=study,
                    series=series,
                    route=effect.route,
                    revision=revision,
                    priority=effect.priority,
                    steps=effect.steps,
                    calendar=effect.calendar,
                    group=group,
                    state=orders.State.HELD if held else orders.State.DUE,
                    error=held,
                )
                owed.append(Owed(order, members))
            made.append(
                decisions.Decision(
                    study,
                    series,
                    revision,
                    effect.route,
                    effect.matched,
                    tuple(destination for destination, _, _ in chosen),
                    effect.discard,
                )
            )
        return made, owed

    def _chosen(
        self, name: str, effect: routes.Effect, known_lanes: Lanes, series: str
    ) -> tuple[str, str, tuple[str, ...]]:
        """(destination, group, the group's members); a destination that a route names stands for itself."""
        group = self.rulebook.groups.get(name)
        if group is None:
            return name, "", ()
        members = tuple(one for one in group.members if one != effect.never) or group.members
        # In turn by the series' name: what comes late goes where the rest of it went, whoever decides.
        turn = live.mark(series) % len(members)
        chosen = groups.choose(dataclasses.replace(group, members=members), known_lanes, turn)
        return chosen, group.name, group.members


def instances(
    connection: sqlalchemy.Connection, owed: Owed, of: Sequence[tuple[int, str]]
) -> Sequence[tuple[int, str]]:
    """Those instances of a series that an order is for."""
    if not owed.members or not of:
        return of
    theirs = decisions.owed_or_done(connection, [key for key, _ in of], owed.members)
    return [one for one in of if one[0] not in theirs]


def states(connection: sqlalchemy.Connection, rulebook: Rulebook) -> Lanes:
    """How it stands with destinations, where a group must choose between them."""
    return lanes.lanes(connection) if rulebook.groups else {}


def _hold(effect: routes.Effect, verdict: orders.Completeness | None, why: str) -> str:
    """Why it is held for a person; "" when it is not."""
    if effect.partial:
        return ""
    if effect.missing:
        lacks = f"a study that is complete, and this one lacks a series with {effect.missing[0]}"
        return decisions.HELD_FOR + lacks
    if verdict is None or verdict is orders.Completeness.COMPLETE:
        return ""
    said = f"what is complete, and this is {verdict.value}"
    return decisions.HELD_FOR + said + (f": {why}" if why else "")
