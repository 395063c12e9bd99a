"""How alembic reaches the database: on the connection that `node.index.migrate` hands it, or by a URL."""

from __future__ import annotations

import sqlalchemy
from alembic import context

from node.index import tables

# Other packages keep tables in the same database; those are theirs.
_OURS = frozenset({*tables.metadata.tables, "alembic_version"})


def _ours(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or name in _OURS


def _run(connection: sqlalchemy.Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=tables.metadata,
        include_name=_ours,
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,  # alembic takes SQLite for unable to; with an explicit BEGIN it is able
    )
    with context.begin_transaction():
        context.run_migrations()


_handed = context.config.attributes.get("connection")
if _handed is not None:
    _run(_handed)
else:
    # `alembic -x url=sqlite:///PATH revision --autogenerate`, when a revision is written.
    with sqlalchemy.create_engine(context.get_x_argument(as_dictionary=True)["url"]).begin() as _own:
        _run(_own)
