"""Series that the node holds, as files: where they lie, or copies of what they are presented as."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from node import errors, model
from node.commands import opening, options

if TYPE_CHECKING:
    from node.send import base


def files(
    uid: str, config: pathlib.Path | None, data: pathlib.Path | None, folder: pathlib.Path
) -> list[str]:
    """The files of a study or series; those that are presented otherwise than they lie are copied."""
    from node import gathering

    items = held(uid, config, data)
    return gathering.files(items, folder)


def held(uid: str, config: pathlib.Path | None, data: pathlib.Path | None) -> list[base.Item]:
    """What is sent of a study or series; raises NotFound when it is not held."""
    from node.dicom import uids
    from node.files import layout
    from node.index import retrieval, words
    from node.send import base
    from node.steps import presented

    if not uids.valid(uid):
        raise errors.UsageError(f"{uid!r} is no file, no folder and no UID of a study or series")
    opening.quiet()
    settings = options.settings(config, data=data)
    place = layout.Data(settings.node.data)
    presenter = presented.Presenter(place)
    found: list[base.Item] = []
    with opening.database(settings) as database, database.read() as connection:
        for level in (model.Level.SERIES, model.Level.STUDY):
            chosen = retrieval.choose(connection, model.Query(level, {model.UNIQUE[level]: uid}))
            for keys in retrieval.pages(chosen.keys):
                rows, _ = retrieval.page(connection, keys)
                for row in rows:
                    coercion, received = row.coercion, words.when(row.received)
                    change = presenter.change(coercion, received) if coercion else None
                    path = place.place(row.path)
                    item = base.Item(
                        row.sop_class, row.sop_instance, row.syntax, path, row.offset, row.size, change
                    )
                    found.append(item)
            if found:
                return found
    raise errors.NotFound(f"this node holds no study or series {uid}: see `dicom-node images list`")
