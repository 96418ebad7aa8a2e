"""The registry: the vendor's models, content keys, customers, devices and licenses, in one SQLite file.

It keeps SQLite's rollback journal. A write-ahead log needs memory shared between processes, which network file
systems do not give, and what it gains, readers beside a writer, means nothing here. A process that is killed leaves
the journal, from which the next one to open the file undoes what was not committed. A writing transaction takes the
write lock when it begins, so that two processes never decide on the same state.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from licensing.errors import LicensingError, RegistryError, StorageError
from licensing.files import write_new_file
from licensing.registry_tables import SCHEMA_VERSION, Base

__all__ = ["Registry"]

BUSY_TIMEOUT_SECONDS = 30.0
"""How long a transaction waits for those of other processes; one takes a few milliseconds."""

_BACKUP_HINT = "restore the vendor's home from a backup"


class Registry:
    """One registry file. Each transaction opens the file and closes it again; nothing is held in between.

    Args:
        path: the file; `create` makes it, and `open` checks it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        # The values of statements stay out of SQLAlchemy's messages: sealed keys are among them.
        engine = create_engine("sqlite+pysqlite://", creator=self._connect, poolclass=NullPool, hide_parameters=True)
        event.listen(engine, "begin", _begin)
        self._reading: Engine = engine
        self._writing: Engine = engine.execution_options(begin_statement="BEGIN IMMEDIATE")

    @classmethod
    def create(cls, path: Path) -> "Registry":
        """Makes an empty registry that its owner alone can read.

        Raises:
            OutputExistsError: the file exists.
            StorageError: the file system refused.
        """
        # SQLite takes an empty file for an empty database, and gives the journal the permissions of the file.
        write_new_file(path, b"", mode=0o600)
        registry = cls(path)
        with registry.write() as session:
            connection = session.connection()
            Base.metadata.create_all(connection)
            connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
        return registry

    @classmethod
    def open(cls, path: Path) -> "Registry":
        """Opens a registry.

        Raises:
            RegistryError: it is missing or damaged, or a newer version of this program made it.
        """
        if not path.exists():
            raise RegistryError(f"there is no registry {str(path)!r}", _BACKUP_HINT, reason="registry_damaged")
        registry = cls(path)
        with registry.read() as session:
            version = session.connection().exec_driver_sql("PRAGMA user_version").scalar_one()
        if version > SCHEMA_VERSION:
            raise RegistryError(
                f"the registry {str(path)!r} was made by a newer version",
                "install a newer weightlock",
                reason="registry_too_new",
            )
        if version != SCHEMA_VERSION:
            raise RegistryError(f"{str(path)!r} is not a registry", _BACKUP_HINT, reason="registry_damaged")
        return registry

    def read(self) -> contextlib.AbstractContextManager[Session]:
        """Gives a session that sees one state of the registry throughout.

        Raises:
            RegistryError: the registry is damaged, or in use for longer than the timeout.
        """
        return self._transaction(self._reading)

    def write(self) -> contextlib.AbstractContextManager[Session]:
        """Gives a session beside which no other process writes; it commits on leaving without an error.

        Raises:
            RegistryError: as in `read`, or a record conflicts with another.
            StorageError: the disk is full, or the file system refused.
        """
        return self._transaction(self._writing)

    @contextlib.contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Session]:
        try:
            with Session(engine) as session, session.begin():
                session.connection()  # Sessions begin with their first statement; this one begins here.
                yield session
        except SQLAlchemyError as cause:
            raise _converted(self._path, cause) from cause

    def _connect(self) -> sqlite3.Connection:
        # mode=rw: SQLite would otherwise make a missing file, and an empty registry would pass for the vendor's.
        # isolation_level=None: transactions begin where `_begin` says so, not where the driver guesses.
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw", uri=True, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None
        )
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            # EXTRA is FULL, and flushes the directory too when the journal is deleted: without that, a power failure
            # could undo the record of a license whose file the customer has.
            connection.execute("PRAGMA synchronous = EXTRA")
        except sqlite3.Error:
            connection.close()
            raise
        return connection


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin_statement", "BEGIN"))


def _converted(path: Path, cause: SQLAlchemyError) -> LicensingError:
    """Returns our error for one of SQLAlchemy's.

    SQLite's result codes reach Python 3.11 and later only; its messages for them are stable (sqlite3_errstr).
    """
    text = str(cause.orig if isinstance(cause, DBAPIError) else cause)
    name = repr(str(path))
    if isinstance(cause, IntegrityError):
        return RegistryError(
            f"the registry {name} refuses a record that conflicts with another",
            "another process may have changed the registry meanwhile; try again",
            reason="registry_conflict",
        )
    if "disk is full" in text:
        return StorageError(
            f"there is no space left for {name}", "free some space and try again", reason="storage_full"
        )
    if "is locked" in text:
        return RegistryError(
            f"the registry {name} is in use by another process", "try again when it is done", reason="registry_busy"
        )
    if any(sign in text for sign in ("malformed", "not a database", "no such table", "no such column")):
        return RegistryError(f"the registry {name} is damaged", _BACKUP_HINT, reason="registry_damaged")
    if any(sign in text for sign in ("readonly", "unable to open", "I/O error")):
        return StorageError(f"the registry {name} cannot be read or written: {text.lower()}")
    return RegistryError(f"the registry {name} failed: {text}")
