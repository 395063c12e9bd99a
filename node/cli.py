"""`dicom-node ...`: the one program. Each command lives in a file of its own under `commands/`."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from node import errors

if TYPE_CHECKING:
    import typer

# Which file of `commands/` a command lives in, in the order of the help.
COMMANDS = {
    "run": "run",
    "listen": "run",
    "work": "run",
    "web": "run",
    "demo": "demo",
    "check": "check",
    "reload": "reload",
    "migrate": "migrate",
    "echo": "echo",
    "find": "find",
    "move": "move",
    "get": "get",
    "send": "send",
    "commit": "commit",
    "import": "import_",
    "images": "images",
    "aside": "aside",
    "why": "why",
    "queue": "queue",
    "worklist": "worklist",
    "steps": "steps",
    "edit": "edit",
    "show": "show",
    "sort": "sort",
    "convert": "convert",
    "preview": "preview",
    "rules": "rules",
    "replay": "replay",
    "schedules": "schedules",
    "faulty-pacs": "faulty_pacs",
    "audit": "audit",
    "scrub": "scrub",
    "rebuild": "rebuild",
}


def program(words: Sequence[str] = ()) -> typer.Typer:
    """Return the program; of its commands only the one that the words name, if they name one."""
    import typer  # takes longer than most edits: see `plain`

    app = typer.Typer(
        name="dicom-node",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_about)
    # The other commands' imports would be most of what a short command does.
    named = COMMANDS.get(words[0]) if words else None
    for module in [named] if named else dict.fromkeys(COMMANDS.values()):
        importlib.import_module(f"node.commands.{module}").register(app)
    return app


def _about() -> None:
    """A DICOM network node: takes what modalities send, keeps it, finds it, and sends it on.

    Example: dicom-node demo
    """


def main() -> None:
    """Run the program; what was raised on purpose ends it with one sentence."""
    _streams()
    try:
        words = sys.argv[1:]
        if not _plainly(words):
            program(words)()
    except (errors.ConfigError, errors.UsageError) as error:
        _say(error)
        sys.exit(2)
    except errors.NodeError as error:
        _say(error)
        sys.exit(1)
    except KeyboardInterrupt:
        # What was begun is tidied up on the way here; the shell is told as it expects.
        sys.exit(130)
    except MemoryError:
        print("dicom-node: it needs more memory than there is", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing is wrong, and nothing is left to say.
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        # What the system refuses of files is told where they are; this is a full disk behind our output.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        print(f"dicom-node: what is to be said cannot be written ({error.strerror})", file=sys.stderr)
        sys.exit(1)


def start() -> None:
    """Run the program as the shell starts it; a conversion that is over ends at once."""
    if sys.argv[1:2] != ["convert"]:
        main()
        return
    import gc

    # What is loaded is no garbage: looking through it again and again is a tenth of a short conversion.
    gc.set_threshold(100_000, 50, 50)
    try:
        main()
        code: object = 0
    except SystemExit as ended:
        code = 0 if ended.code is None else ended.code
    if not isinstance(code, int):
        sys.exit(str(code))
    # And taking the interpreter apart is another tenth. Files are closed and children have ended by now.
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = code or 1
    os._exit(code)


def _streams() -> None:
    """Give what was closed by who started us a place: else a file of ours would be what is printed to."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - as long as the program


def _plainly(words: Sequence[str]) -> bool:
    """Do what the words say where they need no explaining; whether that was done."""
    if not words or words[0] not in ("edit", "convert"):
        return False
    from node.commands import plain

    asked = plain.edit(words[1:]) if words[0] == "edit" else plain.convert(words[1:])
    if asked is None:
        return False
    if words[0] == "edit":
        from node.commands import editing

        editing.run(**asked)
    else:
        # The threads that numpy would start to multiply matrices take longer to start than most of this.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        from node.commands import converting

        converting.run(**asked)
    return True


def _say(error: errors.NodeError) -> None:
    said = "\n".join(map(errors.printable, str(error).split("\n")))  # files may be called anything
    print(f"dicom-node: {said}", file=sys.stderr)
