"""Which member of a group takes what is sent to the group: pure."""

from __future__ import annotations

from collections.abc import Mapping

from node import orders


def fit(destination: str, lanes: Mapping[str, orders.Lane]) -> bool:
    """Whether a destination can be given work: neither down nor held; one that is not known is up."""
    found = lanes.get(destination)
    return found is None or found.state is orders.LaneState.UP


def choose(group: orders.Group, lanes: Mapping[str, orders.Lane], turn: int = 0) -> str:
    """The member that takes it: the first that is up, or the next one in turn.

    With none that is up it is the one whose turn it would be: its work waits there, and moves when another
    member comes up first.
    """
    members = group.members
    if group.choice is orders.Choice.SPREAD:
        start = turn % len(members)
        members = members[start:] + members[:start]
    return next((one for one in members if fit(one, lanes)), members[0])


def instead(group: orders.Group, given: str, lanes: Mapping[str, orders.Lane], turn: int = 0) -> str | None:
    """The member that takes over what `given` was to get; None: it stays where it is."""
    if fit(given, lanes) and given in group.members:
        return None
    found = choose(group, lanes, turn)
    return found if found != given and fit(found, lanes) else None
