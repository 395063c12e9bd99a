"""Named places at which a test makes this process die as if the power had gone; without effect otherwise."""

from __future__ import annotations

import os
import signal

VARIABLE = "DICOM_NODE_FAILPOINT"  # NAME or NAME:COUNT, the latter dies at the COUNTth passage

NAMES = (
    "journal.before-write",
    "journal.before-sync",
    "journal.after-sync",
    "journal.after-publish",
    "spool.before-sync",
    "spool.after-sync",
    "adopt.before-files",
    "adopt.mid-files",
    "adopt.after-files",
    "adopt.before-commit",
    "adopt.after-commit",
    "adopt.after-publish",
    "adopt.before-checkpoint",
    "adopt.after-checkpoint",
    "remove.after-intent",
    "sweep.after-rows",
    "sweep.after-ledger",
    "sweep.after-files",
    "rebuild.before-swap",
    "complete.before-commit",
    "complete.after-commit",
    "queue.after-claim",
    "push.after-answer",
    "push.after-book",
    "push.after-record",
    "queue.before-finish",
    "queue.after-finish",
)


class _Armed:
    """The one failpoint that the environment named, and how often it is still passed alive."""

    def __init__(self, text: str) -> None:
        name, _, count = text.partition(":")
        self.name = name
        self.left = int(count) if count.isdigit() else 1


_ARMED = _Armed(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


def hit(name: str) -> None:
    """Die here, by SIGKILL, when the environment said so."""
    if _ARMED is not None and _ARMED.name == name:
        _ARMED.left -= 1
        if _ARMED.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
