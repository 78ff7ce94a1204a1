"""The file under a latency table: opening it, refusing what is not one, and SQLite's errors in a person's words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError

from nasc.dsl.diagnostics import NascError

SCHEMA_VERSION = 2
APPLICATION_ID = 0x6E617363  # "nasc"

_FIRST_SCHEMA = {
    "meta": "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    "block": "CREATE TABLE block (hash TEXT PRIMARY KEY, canonical_json TEXT NOT NULL) STRICT",
    "env": """CREATE TABLE env (
        env_id TEXT PRIMARY KEY, device_fingerprint TEXT NOT NULL, engine TEXT NOT NULL, engine_version TEXT NOT NULL,
        precision TEXT NOT NULL, batch INTEGER NOT NULL, threads INTEGER NOT NULL, timing_mode TEXT NOT NULL,
        protocol_version INTEGER NOT NULL, canonical_json TEXT NOT NULL, reference_us REAL) STRICT""",
    "measurement": """CREATE TABLE measurement (
        block_hash TEXT NOT NULL REFERENCES block (hash), env_id TEXT NOT NULL REFERENCES env (env_id),
        point TEXT NOT NULL, status TEXT NOT NULL, effective_precision TEXT, minimum REAL, median REAL, mad REAL,
        samples INTEGER NOT NULL, dropped INTEGER NOT NULL, canary REAL, identity REAL, quality TEXT,
        seconds REAL NOT NULL, error TEXT, timestamp TEXT NOT NULL,
        PRIMARY KEY (block_hash, env_id, point)) STRICT, WITHOUT ROWID""",
}
_SINCE_2 = {
    "claim": """CREATE TABLE claim (
        block_hash TEXT NOT NULL, env_id TEXT NOT NULL, point TEXT NOT NULL, owner TEXT NOT NULL, until REAL NOT NULL,
        PRIMARY KEY (block_hash, env_id, point)) STRICT, WITHOUT ROWID""",
    "estimate": """CREATE TABLE estimate (
        block_hash TEXT NOT NULL REFERENCES block (hash), env_id TEXT NOT NULL REFERENCES env (env_id),
        point TEXT NOT NULL, median REAL NOT NULL, error REAL NOT NULL,
        PRIMARY KEY (block_hash, env_id, point)) STRICT, WITHOUT ROWID""",
    "calibration": """CREATE TABLE calibration (
        env_id TEXT PRIMARY KEY REFERENCES env (env_id), canonical_json TEXT NOT NULL) STRICT""",
}
_SCHEMAS = {"1": _FIRST_SCHEMA, "2": _FIRST_SCHEMA | _SINCE_2}
_SCHEMA = _SCHEMAS[str(SCHEMA_VERSION)]

_REASONS: Mapping[str, tuple[str, str]] = {
    "SQLITE_FULL": ("cannot grow: no space is left", "make room on the disk; what was committed is safe"),
    "SQLITE_READONLY": ("cannot be written", "check its permissions and those of its folder"),
    "SQLITE_BUSY": ("is in use by another process", "wait until that has finished, or use another file"),
    "SQLITE_LOCKED": ("is in use by another process", "wait until that has finished, or use another file"),
    "SQLITE_CANTOPEN": ("cannot be opened", "check its permissions and those of its folder"),
    "SQLITE_PERM": ("cannot be opened", "check its permissions and those of its folder"),
    "SQLITE_IOERR": ("cannot be read or written", "check the disk; the table must lie on a local one"),
}


def open_table(path: Path, *, readonly: bool, wait: float) -> sqlite3.Connection:
    """A connection to a latency table, made where there is none and `readonly` is not set.

    Raises `NascError` for a file that is none, and what `explained` raises.
    """
    with explained(path):
        connection = _connect(path, readonly, wait)
        try:
            _prepare(connection, path, readonly)
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """SQLite's errors, and values that no table of ours holds, as `NascError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise _explain(path, error) from error
    except (ValidationError, ValueError, RecursionError) as error:
        raise _damaged(path, f"a value in it cannot be read ({str(error).splitlines()[0]})") from error


def _connect(path: Path, readonly: bool, wait: float) -> sqlite3.Connection:
    if not readonly:
        _refuse_other_files(path)
        return sqlite3.connect(path, timeout=wait)
    if not path.is_file():
        raise NascError(f"there is no latency table {path}", help="`nasc profile DIR --table FILE` makes one")
    return sqlite3.connect(f"file:{quote(str(path.absolute()))}?{_read_mode(path)}", timeout=wait, uri=True)


def _read_mode(path: Path) -> str:
    """How to open a table for reading.

    A reader that may not write leaves its -shm and -wal files behind, so one that may does, under `query_only`. And
    SQLite cannot read a table in a folder it cannot write, unless told that nobody else writes it.
    """
    folder = os.access(path.absolute().parent, os.W_OK)
    if folder and os.access(path, os.W_OK):
        return "mode=rw"
    return "mode=ro" if folder or Path(f"{path}-wal").exists() else "immutable=1"


def _refuse_other_files(path: Path) -> None:
    """SQLite takes a file shorter than its header for a new database and would write over it."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except FileNotFoundError:
        if not path.absolute().parent.is_dir():
            raise NascError(f"there is no folder {path.absolute().parent}", help="make it first") from None
        return
    except OSError as error:
        raise NascError(f"cannot open the latency table {path}: {error.strerror}") from error
    if start and start != b"SQLite format 3\0":
        raise _foreign(path)


def _prepare(db: sqlite3.Connection, path: Path, readonly: bool) -> None:
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cell_size_check = ON")
    if not readonly and _empty(db):
        with _transaction(db, "IMMEDIATE"):
            _create_where_empty(db)
    with _transaction(db, "DEFERRED"):
        version = _check(db, path)
    if readonly:
        _stand_in(db, version)
        db.execute("PRAGMA query_only = ON")
        return
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA foreign_keys = ON")
    if version != str(SCHEMA_VERSION):
        with _transaction(db, "IMMEDIATE"):
            _upgrade(db)


@contextmanager
def _transaction(db: sqlite3.Connection, kind: str) -> Iterator[None]:
    """All that is done within, or nothing; another process may be about the same."""
    with db:
        db.execute(f"BEGIN {kind}")
        yield


def _empty(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT count(*) = 0 FROM sqlite_master").fetchone()[0])


def _create_where_empty(db: sqlite3.Connection) -> None:
    if not _empty(db):
        return
    for statement in _SCHEMA.values():
        db.execute(statement)
    db.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),))
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _upgrade(db: sqlite3.Connection) -> None:
    """Add what the first schema lacks, unless another process just did."""
    if _version(db) != ("1",):
        return
    for statement in _SINCE_2.values():
        db.execute(statement)
    db.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (str(SCHEMA_VERSION),))


def _stand_in(db: sqlite3.Connection, version: str) -> None:
    """Empty tables, outside the file, in the place of those that an older file lacks."""
    for name in _SCHEMA.keys() - _SCHEMAS[version].keys():
        db.execute(_SCHEMA[name].replace("CREATE TABLE", "CREATE TEMP TABLE", 1))


def _check(db: sqlite3.Connection, path: Path) -> str:
    """The version of a table's schema.

    Refuses what is not a table of a version known: another program's, a newer one's, a damaged or a doctored one.
    """
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise _foreign(path)
    found = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_autoindex_%'"))
    version = _known_version(path, _version(db)) if found.get("meta") == _SCHEMA["meta"] else ""
    if found != _SCHEMAS.get(version):
        raise _damaged(path, "its tables are not those of a latency table")
    verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise _damaged(path, verdict)
    return version


def _version(db: sqlite3.Connection) -> tuple[str] | None:
    row: tuple[str] | None = db.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    return row


def _known_version(path: Path, row: tuple[str] | None) -> str:
    if row is None or row[0] not in _SCHEMAS:
        version = row[0][:20] if row else "none"
        raise NascError(
            f"{path} has latency-table schema {version}; this nasc reads schemas {' and '.join(_SCHEMAS)}",
            help="use the version of nasc that wrote it, or profile into a new file",
        )
    return row[0]


def _foreign(path: Path) -> NascError:
    return NascError(f"{path} is not a latency table of nasc", help="name another file, or a new one")


def _damaged(path: Path, why: str) -> NascError:
    return NascError(
        f"the latency table {path} is damaged: {why}", help="restore it from a copy, or profile into a new file"
    )


def _explain(path: Path, error: sqlite3.Error) -> NascError:
    code = getattr(error, "sqlite_errorname", "")
    if code.startswith("SQLITE_NOTADB"):
        return _foreign(path)
    if code.startswith("SQLITE_CORRUPT"):
        return _damaged(path, str(error))
    for prefix, (what, mend) in _REASONS.items():
        if code.startswith(prefix):
            return NascError(f"the latency table {path} {what}", help=mend)
    return NascError(f"the latency table {path} cannot be used: {error}")
