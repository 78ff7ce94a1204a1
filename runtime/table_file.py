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

SCHEMA_VERSION = 1
APPLICATION_ID = 0x6E617363  # "nasc"

_SCHEMA = {
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
    """SQLite cannot read a table in a folder it cannot write, unless told that nobody else writes it."""
    log = Path(f"{path}-wal")
    return "mode=ro" if log.exists() or os.access(path.absolute().parent, os.W_OK) else "immutable=1"


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
    if not readonly:
        _create_where_empty(db)
    _check(db, path)
    if not readonly:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA foreign_keys = ON")


def _create_where_empty(db: sqlite3.Connection) -> None:
    """Write the schema into an empty file, all of it or nothing; another process may be doing the same."""
    if not _empty(db):
        return
    db.isolation_level = None
    db.execute("BEGIN IMMEDIATE")
    if _empty(db):
        for statement in _SCHEMA.values():
            db.execute(statement)
        db.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),))
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute("COMMIT")
    db.isolation_level = "DEFERRED"


def _empty(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT count(*) = 0 FROM sqlite_master").fetchone()[0])


def _check(db: sqlite3.Connection, path: Path) -> None:
    """Refuse what is not a table of this version: another program's, a newer one's, a damaged or a doctored one."""
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise _foreign(path)
    found = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_autoindex_%'"))
    if found.get("meta") == _SCHEMA["meta"]:
        _check_version(path, db.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone())
    if found != _SCHEMA:
        raise _damaged(path, "its tables are not those of a latency table")
    verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise _damaged(path, verdict)


def _check_version(path: Path, row: tuple[str] | None) -> None:
    if row != (str(SCHEMA_VERSION),):
        version = row[0][:20] if row else "none"
        raise NascError(
            f"{path} has latency-table schema {version}; this nasc reads schema {SCHEMA_VERSION}",
            help="use the version of nasc that wrote it, or profile into a new file",
        )


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
