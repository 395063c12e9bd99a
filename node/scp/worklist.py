"""Modality Worklist: the scheduled steps that a modality asks for (PS3.4 annex K), for the C-FIND handler."""

from __future__ import annotations

from collections.abc import Iterator

from node import worklist
from node.dicom import identifier, statuses
from node.dicom import worklist as entries
from node.scp import find
from node.wire import association

# What can be agreed by SOP class extended negotiation: fuzzy matching of names. Dates and times are one range
# of moments without asking; relations and time zones have no meaning in a worklist.
EXTENDED = bytes((0, 0, 1, 0))
_FUZZY = 2  # byte of the SOP class extended negotiation that agrees on fuzzy matching of names


class Worklist:
    """Answers queries of the worklist; one object serves every association of a process."""

    def __init__(self, lists: worklist.Lists) -> None:
        self._lists = lists

    def answers(self, asked: identifier.Fields, who: association.Association) -> Iterator[identifier.Fields]:
        """Each scheduled step that is meant, in the order in which they begin."""
        if not asked:
            raise find.Refused(statuses.DATA_SET_MISMATCH, "the query asks for nothing")
        agreed = who.extended.get(entries.SOP_CLASS, b"")
        question = entries.Question(asked, fuzzy=agreed[_FUZZY : _FUZZY + 1] == b"\1")
        for entry in self._lists.find(question, who.facts.called):
            answer = question.answer(entry)
            yield find.Partial(answer) if question.partial else answer
