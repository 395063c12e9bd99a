"""`dicom-node ...`: the one program. Each command lives in a file of its own under `commands/`."""

from __future__ import annotations

import sys

import typer

from node import errors
from node.commands import (
    aside,
    audit,
    check,
    commit,
    demo,
    echo,
    edit,
    images,
    import_,
    migrate,
    rebuild,
    reload,
    rules,
    run,
    scrub,
    send,
)

app = typer.Typer(
    name="dicom-node",
    help="A DICOM network node: takes what modalities send, keeps it, finds it, and sends it on.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (
    run,
    demo,
    check,
    reload,
    migrate,
    echo,
    send,
    commit,
    import_,
    images,
    aside,
    edit,
    rules,
    audit,
    scrub,
    rebuild,
):
    command.register(app)


def main() -> None:
    """Run the program; what was raised on purpose ends it with one sentence."""
    try:
        app()
    except (errors.ConfigError, errors.UsageError) as error:
        _say(error)
        sys.exit(2)
    except errors.NodeError as error:
        _say(error)
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing is wrong, and nothing is left to say.
        sys.stderr.close()
        sys.exit(141)


def _say(error: errors.NodeError) -> None:
    print(f"dicom-node: {error}", file=sys.stderr)
