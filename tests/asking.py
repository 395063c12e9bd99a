"""Who queries on the raw socket: what is asked and what is answered stands here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Self

from node.dicom import identifier
from tests import make, scu

PATIENT, STUDY, PATIENT_STUDY = (f"1.2.840.10008.5.1.4.1.2.{number}.1" for number in (1, 2, 3))
FIND, CANCEL = 0x0020, 0x0FFF
PENDING, PARTIAL = 0xFF00, 0xFF01


@dataclasses.dataclass(frozen=True)
class Found:
    """What a query came to."""

    answers: list[bytes]  # identifiers as they came
    statuses: list[int]  # of the pending answers
    last: scu.Response  # how it ended
    syntax: str

    @property
    def status(self) -> int:
        return self.last.status

    @property
    def fields(self) -> list[identifier.Fields]:
        return [identifier.decode(answer, self.syntax) for answer in self.answers]

    def texts(self, key: str) -> list[str]:
        """The values of a key, sorted."""
        return sorted(str(one.get(key)) for one in self.fields)


class Asker(scu.Caller):
    """An association that queries."""

    abstract = STUDY
    syntax = make.IMPLICIT

    @classmethod
    def call(
        cls,
        address: tuple[str, int],
        abstract: str = STUDY,
        *,
        syntax: str = make.IMPLICIT,
        extended: bytes = b"",
        calling: str = "RAWSCU",
        more: Sequence[scu.Context] = (),
    ) -> Self:
        """Open it; `more` contexts get the ids behind the first."""
        caller = cls(address)
        caller.abstract, caller.syntax = abstract, syntax
        negotiated = {abstract: extended} if extended else None
        try:
            contexts = [scu.Context(abstract, (syntax,)), *more]
            return caller.associate(contexts, calling=calling, extended=negotiated)
        except BaseException:
            caller.close()
            raise

    def ask(self, data: bytes | None, message: int = 7, sop_class: str = "") -> None:
        """Send a C-FIND."""
        values: dict[int, scu.Value] = {
            0x0002: sop_class or self.abstract,
            0x0100: FIND,
            0x0110: message,
            0x0700: 0,
            0x0800: 1 if data is not None else scu.NO_DATA,
        }
        self.message(1, values, data)

    def cancel(self, message: int = 7) -> None:
        """Send a C-CANCEL."""
        self.message(1, {0x0100: CANCEL, 0x0120: message, 0x0800: scu.NO_DATA})

    def found(self) -> Found:
        """Everything until the end of a query."""
        answers: list[bytes] = []
        statuses: list[int] = []
        while True:
            answer = self.response()
            if answer.status not in (PENDING, PARTIAL):
                return Found(answers, statuses, answer, self.syntax)
            answers.append(answer.data)
            statuses.append(answer.status)

    def find(self, charset: str = "", *, level: str | None = "STUDY", **keys: identifier.Value) -> Found:
        """Ask and hear."""
        asked: identifier.Fields = {**keys} if level is None else {"QueryRetrieveLevel": level, **keys}
        self.ask(identifier.encode(asked, self.syntax, charset))
        return self.found()
