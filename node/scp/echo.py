"""C-ECHO: somebody asks whether we are there."""

from __future__ import annotations

import time

from node import log, metrics
from node.dicom import statuses
from node.wire import association, command


class Echo:
    """Answers C-ECHO."""

    def __init__(self, counts: metrics.Metrics) -> None:
        self._counts = counts

    def __call__(self, link: association.Association, message: association.Message) -> None:
        """Answer one request."""
        begun = time.perf_counter()
        message.drain()  # a data set does not belong here, but hurts nobody
        link.send(message.context, command.response(message.command, statuses.SUCCESS))
        self._counts.operation("echo", time.perf_counter() - begun)
        facts = link.facts
        log.echo(association=facts.id, calling=facts.calling, address=facts.address)
