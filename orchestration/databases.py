"""Databases that a company's tables may be read from: PostgreSQL, MySQL and MariaDB, SQLite.

Each is opened read-only in one transaction, so that all that is read is of one moment, and gives what a SELECT yields
as Arrow batches of exact types. Which tables are read and what becomes of the rows is told in `extraction`. DuckDB's
own scanners are not used: they are downloads at run time, and as packages they trail the version that is pinned.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from orchestration.content_hash import quote_identifier
from orchestration.landing import LandingError

BATCH_ROWS = 50_000  # bounds the memory of a batch in Python's own objects to some tens of megabytes
CONNECT_SECONDS = 10
READ_SECONDS = 900  # a server that is silent for longer while a table is read is taken for lost
MAX_DECIMAL_DIGITS = 38


class DatabaseError(LandingError):
    """A database that cannot be read: what happened and what to do. Nothing of this reading is kept."""


class Database(Protocol):
    """An open database: everything is read from within one transaction."""

    def tables(self) -> list[str]:
        """Names of the tables and views that a SELECT finds without naming a schema."""

    def prepare(self, query: str) -> tuple[str, pa.Schema]:
        """The query in a form that yields plain types alone, and the columns that it yields."""

    def batches(self, query: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The rows of a prepared query; `schema` is what preparing it gave."""

    def quote(self, name: str) -> str:
        """A name as an identifier."""


@contextmanager
def open_database(url: str, password: str | None) -> Iterator[Database]:
    """Opens a database in one read-only transaction.

    Args:
        url: As the settings have checked it: `postgresql://…`, `mysql://…` or `sqlite:///…`.
        password: In place of the one in the URL, if given.

    Raises:
        DatabaseError: It does not answer or refuses; also within the block, where reading fails.
    """
    kind = urlsplit(url).scheme
    opens: dict[str, Callable[[str, str | None], _PostgreSQL | _MySQL | _SQLite]] = {
        "postgresql": _PostgreSQL,
        "mysql": _MySQL,
        "sqlite": _SQLite,
    }
    with closing(opens[kind](url, password)) as database:
        yield database


def wrapped(query: str, columns: str = "*", where: str = "") -> str:
    """A SELECT over a SELECT, whatever the inner one ends in."""
    return f"select {columns} from ({query.strip().rstrip(';')}\n) as chosen" + (f" where {where}" if where else "")


def _first_line(error: object) -> str:
    return next(iter(str(error).strip().splitlines()), "no reason given").strip()


def _place(url: str) -> str:
    """Where a server is, without who asks."""
    parts = urlsplit(url)
    host = parts.hostname or "this machine"
    return f"{parts.scheme} at {host}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _refused(url: str, reason: str) -> DatabaseError:
    return DatabaseError(
        f"cannot connect to {_place(url)}: {reason}. See that it runs and can be reached from here, that INPUT names"
        " its host, port and database, and that CUSTOMER360_INPUT_PASSWORD is the user's password"
    )


def _lost(url: str) -> DatabaseError:
    return DatabaseError(
        f"the connection to {_place(url)} was lost while it was read; what was read before is as it was. See that the"
        " server runs, and refresh again"
    )


def _refused_query(reason: str) -> DatabaseError:
    return DatabaseError(f"the database refuses: {reason}. Mend the SELECT, or the rights of the user who reads")


def _failed_query(reason: str) -> DatabaseError:
    # The server's own words are not told: they may quote a value, and a value may be personal.
    return DatabaseError(
        f"the database gave up while it was read ({reason}). Run the SELECT by hand to see where, and mend it"
    )


def _as(column: pa.Array, wanted: pa.DataType, name: str) -> pa.Array:
    """A column in the type that its table promises."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if column.type == wanted:
        return column
    try:
        return pc.cast(column, wanted)
    except pa.ArrowInvalid:
        raise DatabaseError(
            f"column {name} holds a value that {wanted} cannot hold, such as NaN or an impossible day. Mend it in the"
            " database, or cast the column in a SELECT of CUSTOMER360_INPUT_MAPPING"
        ) from None


def _decimal_or_text(precision: int, scale: int) -> pa.DataType:
    """Text is exact too, where no decimal is wide enough or the width is not declared."""
    fits = 0 < precision <= MAX_DECIMAL_DIGITS and 0 <= scale <= precision
    return pa.decimal128(precision, scale) if fits else pa.string()


class _PostgreSQL:
    """By ADBC: rows come as Arrow batches, in PostgreSQL's binary COPY."""

    PLAIN = frozenset(
        {"int2", "int4", "int8", "float4", "float8", "numeric", "bool", "text", "varchar"}
        | {"date", "timestamp", "timestamptz"}
    )
    LOST = ("08", "57P")  # classes and codes of SQLSTATE: the connection, the server going down
    LISTED = (
        "select relname::text as name from pg_catalog.pg_class where relkind in ('r', 'v', 'm', 'p', 'f')"
        " and pg_catalog.pg_table_is_visible(oid) and relnamespace not in"
        " (select oid from pg_catalog.pg_namespace where nspname in ('pg_catalog', 'information_schema'))"
    )

    def __init__(self, url: str, password: str | None) -> None:
        import adbc_driver_postgresql.dbapi as driver

        self._driver, self._url = driver, url
        parts = urlsplit(url)
        secret = password or unquote(parts.password or "")
        who = quote(unquote(parts.username or ""), safe="") + (f":{quote(secret, safe='')}" if secret else "")
        # A server that is gone without a word is noticed within a minute or two.
        options = {"connect_timeout": CONNECT_SECONDS, "keepalives_idle": 30, "keepalives_interval": 10}
        given = urlencode({**options, **dict(parse_qsl(parts.query))}, quote_via=quote)
        host = parts.netloc.rpartition("@")[2]
        try:
            self._connection = driver.connect(f"postgresql://{who}@{host}{parts.path}?{given}")
        except driver.Error as error:
            raise _refused(url, _first_line(error).split("failed: ")[-1]) from None
        try:
            with self._cursor() as cursor:
                cursor.execute("set transaction isolation level repeatable read, read only")
                cursor.execute("set time zone 'UTC'")
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        try:
            with closing(self._connection.cursor()) as cursor:
                yield cursor
        except self._driver.Error as error:
            state = getattr(error, "sqlstate", None) or ""
            if state.startswith("42"):
                found = re.search(r"(?:ERROR|FATAL):\s*(.*)", str(error))
                raise _refused_query(found[1].strip() if found else state) from None
            if not state or state.startswith(self.LOST):
                raise _lost(self._url) from None
            raise _failed_query(f"SQLSTATE {state}") from None

    def tables(self) -> list[str]:
        with self._cursor() as cursor:
            cursor.execute(self.LISTED)
            return sorted(row[0] for row in cursor.fetchall())

    def prepare(self, query: str) -> tuple[str, pa.Schema]:
        with self._cursor() as cursor:
            given = cursor.adbc_execute_schema(wrapped(query))
            columns, fields = [], []
            for field in given:
                metadata = field.metadata or {}
                name, kind = self.quote(field.name), metadata.get(b"POSTGRESQL:type", b"").decode()
                if kind == "numeric":
                    # The lower half of the modifier is the scale, the upper one the precision; 4 is added.
                    modifier = int(metadata.get(b"POSTGRESQL:typmod", b"-1")) - 4
                    precision, scale = (modifier >> 16, modifier & 0xFFFF) if modifier >= 0 else (0, 0)
                    fields.append(pa.field(field.name, _decimal_or_text(precision, scale)))
                else:
                    fields.append(pa.field(field.name, field.type if kind in self.PLAIN else pa.string()))
                # Money, for one, would come as a number of cents.
                columns.append(name if kind in self.PLAIN else f"{name}::text as {name}")
        return wrapped(query, ", ".join(columns)), pa.schema(fields)

    def batches(self, query: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with self._cursor() as cursor:
            cursor.execute(query)
            reader = cursor.fetch_record_batch()
            while True:
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    return
                except (OSError, pa.ArrowException) as error:
                    if "ERROR:" not in str(error):
                        raise _lost(self._url) from None
                    # A time-out, or a standby that went on; it names nothing of the rows.
                    cancelled = re.search(r"canceling statement [\w ]+", str(error))
                    raise _failed_query(cancelled[0] if cancelled else "a value cannot be converted") from None
                columns = [
                    _as(column, field.type, field.name) for column, field in zip(batch.columns, schema, strict=True)
                ]
                yield pa.record_batch(columns, schema=schema)

    def quote(self, name: str) -> str:
        return quote_identifier(name)

    def close(self) -> None:
        with suppress(self._driver.Error, RuntimeError):
            self._connection.close()


class _MySQL:
    """By PyMySQL, unbuffered: values come as the text that the server sends, and Arrow reads it."""

    INTEGERS: ClassVar[dict[int, tuple[pa.DataType, pa.DataType]]] = {
        1: (pa.int8(), pa.uint8()),
        2: (pa.int16(), pa.uint16()),
        3: (pa.int32(), pa.uint32()),
        8: (pa.int64(), pa.uint64()),
        9: (pa.int32(), pa.uint32()),
        13: (pa.int16(), pa.int16()),
    }
    OTHERS: ClassVar[dict[int, pa.DataType]] = {
        4: pa.float32(),
        5: pa.float64(),
        7: pa.timestamp("us", tz="UTC"),
        10: pa.date32(),
        12: pa.timestamp("us"),
        16: pa.uint64(),
    }
    DECIMALS, TEXTS, BINARY, UNSIGNED = frozenset({0, 246}), frozenset(range(247, 256)), 63, 32
    REFUSED = frozenset({1044, 1045, 1049, 1130, 1698, 2002, 2003, 2005, 2059, 2061})
    LOST = frozenset({0, 1053, 1927, 2006, 2013, 2014})
    MISTAKEN = frozenset({1052, 1054, 1060, 1064, 1142, 1143, 1146, 1305, 1370})
    OPTIONS = frozenset({"ssl_ca", "ssl_cert", "ssl_key", "unix_socket"})

    def __init__(self, url: str, password: str | None) -> None:
        import pymysql
        from pymysql.cursors import SSCursor

        self._driver, self._url = pymysql, url
        parts = urlsplit(url)
        encoders: Any = pymysql.converters.encoders  # and no decoders
        options: dict[str, Any] = dict(parse_qsl(parts.query))
        unknown = sorted(set(options) - self.OPTIONS)
        if unknown:
            raise DatabaseError(
                f"INPUT has {', '.join(unknown)} behind its question mark; what can be used there is"
                f" {', '.join(sorted(self.OPTIONS))}"
            )
        if "ssl_ca" in options:
            options |= {"ssl_verify_cert": True, "ssl_verify_identity": True}
        try:
            self._connection: Any = pymysql.connect(
                host=parts.hostname,
                port=parts.port or 3306,
                user=unquote(parts.username or ""),
                password=password or unquote(parts.password or ""),
                database=unquote(parts.path.lstrip("/")),
                charset="utf8mb4",
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                cursorclass=SSCursor,
                conv=encoders,
                **options,
            )
        except (pymysql.Error, OSError, RuntimeError) as error:
            reason = error.args[1] if len(error.args) > 1 else error
            raise _refused(url, _first_line(reason)) from None
        try:
            with self._cursor() as cursor:
                cursor.execute("set time_zone = '+00:00'")
                cursor.execute("set session transaction isolation level repeatable read")
                cursor.execute("start transaction with consistent snapshot, read only")
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        cursor = self._connection.cursor()
        try:
            yield cursor
            cursor.close()
        except GeneratorExit:
            self._abandon(cursor)
            raise
        except (self._driver.Error, OSError) as error:
            self._abandon(cursor)
            code = error.args[0] if error.args else 0
            if code in self.MISTAKEN and len(error.args) > 1:
                raise _refused_query(_first_line(error.args[1])) from None
            if isinstance(error, OSError) or code in self.LOST or not isinstance(code, int):
                raise _lost(self._url) from None
            raise _failed_query(f"error {code}") from None

    def tables(self) -> list[str]:
        with self._cursor() as cursor:
            cursor.execute("select table_name from information_schema.tables where table_schema = database()")
            return sorted(row[0] for row in cursor.fetchall())

    def _type(self, field: Any) -> pa.DataType:
        kind, is_unsigned = field.type_code, bool(field.flags & self.UNSIGNED)
        if kind in self.INTEGERS:
            return self.INTEGERS[kind][is_unsigned]
        if kind in self.DECIMALS:  # the length counts the sign and the point
            return _decimal_or_text(field.length - (not is_unsigned) - (field.scale > 0), field.scale)
        if kind in self.TEXTS and field.charsetnr == self.BINARY:
            return pa.binary()
        return self.OTHERS.get(kind, pa.string())

    def prepare(self, query: str) -> tuple[str, pa.Schema]:
        with self._cursor() as cursor:
            cursor.execute(wrapped(query) + " limit 0")
            schema = pa.schema([pa.field(field.name, self._type(field)) for field in cursor._result.fields])
        return wrapped(query), schema

    def batches(self, query: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with self._cursor() as cursor:
            cursor.execute(query)
            while rows := cursor.fetchmany(BATCH_ROWS):
                columns = [
                    self._column(values, field) for values, field in zip(zip(*rows, strict=True), schema, strict=True)
                ]
                yield pa.record_batch(columns, schema=schema)

    def _column(self, values: tuple[Any, ...], field: pa.Field) -> pa.Array:
        if field.type == pa.uint64() and any(isinstance(value, bytes) for value in values):  # bits
            values = tuple(None if value is None else int.from_bytes(value) for value in values)
            return pa.array(values, field.type)
        if pa.types.is_binary(field.type):
            return pa.array(values, field.type)
        column = pa.array(values, pa.string())
        if pa.types.is_temporal(field.type):
            # 0000-00-00 is how MySQL spells that there is no day; no calendar has one with a month or day of 00.
            column = pc.if_else(pc.match_substring(column, "-00"), pa.scalar(None, pa.string()), column)
            if pa.types.is_timestamp(field.type) and field.type.tz:
                return pc.assume_timezone(_as(column, pa.timestamp("us"), field.name), "UTC")
        return _as(column, field.type, field.name)

    def quote(self, name: str) -> str:
        return "`" + name.replace("`", "``") + "`"

    def _abandon(self, cursor: Any) -> None:
        # Closed in the usual way, a cursor first reads all that is left of a table.
        if cursor._result is not None:
            cursor._result.unbuffered_active = False
        cursor.connection = None

    def close(self) -> None:
        self._connection._force_close()


class _SQLite:
    """By the standard library. Any value may be of any type, so a column has the type that all its values have."""

    TYPES: ClassVar[dict[frozenset[str], pa.DataType]] = {
        frozenset({"integer"}): pa.int64(),
        frozenset({"real"}): pa.float64(),
        frozenset({"integer", "real"}): pa.float64(),
        frozenset({"blob"}): pa.binary(),
    }

    def __init__(self, url: str, password: str | None) -> None:
        self._path = Path(unquote(urlsplit(url).path))
        if not self._path.is_file():
            raise DatabaseError(f"INPUT {self._path} does not exist. Give the path of the SQLite file")
        self._connection = sqlite3.connect(f"file:{quote(str(self._path))}?mode=ro", uri=True, isolation_level=None)
        self._connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        try:
            with self._cursor() as cursor:
                cursor.execute("pragma query_only = true")
                cursor.execute("begin")
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _cursor(self) -> Iterator[sqlite3.Cursor]:
        try:
            with closing(self._connection.cursor()) as cursor:
                yield cursor
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) in (
                sqlite3.SQLITE_ERROR,
                sqlite3.SQLITE_READONLY,
                sqlite3.SQLITE_AUTH,
            ):
                raise _refused_query(_first_line(error)) from None
            raise DatabaseError(
                f"{self._path} cannot be read ({_first_line(error)}). See that it is a whole"
                " SQLite file that nobody keeps locked"
            ) from None

    def tables(self) -> list[str]:
        with self._cursor() as cursor:
            rows = cursor.execute("select name from sqlite_master where type in ('table', 'view')")
            return sorted(row[0] for row in rows)

    def prepare(self, query: str) -> tuple[str, pa.Schema]:
        with self._cursor() as cursor:
            cursor.execute(wrapped(query) + " limit 0")
            names = [column[0] for column in cursor.description]
            cursor.execute(query.strip().rstrip(";"))  # a SELECT over it gives two columns of one name another each
            if len({column[0].lower() for column in cursor.description}) < len(names):
                names = [column[0] for column in cursor.description]
                return wrapped(query), pa.schema([pa.field(name, pa.string()) for name in names])
            kinds = ", ".join(f"group_concat(distinct typeof({self.quote(name)}))" for name in names)
            (row,) = cursor.execute(wrapped(query, kinds)).fetchall()
        types = [self.TYPES.get(frozenset((kind or "").split(",")) - {"null"}, pa.string()) for kind in row]
        return wrapped(query), pa.schema([pa.field(name, kind) for name, kind in zip(names, types, strict=True)])

    def batches(self, query: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with self._cursor() as cursor:
            cursor.execute(query)
            while rows := cursor.fetchmany(BATCH_ROWS):
                columns = [
                    pa.array(map(_plain_text, values) if field.type == pa.string() else values, field.type)
                    for values, field in zip(zip(*rows, strict=True), schema, strict=True)
                ]
                yield pa.record_batch(columns, schema=schema)

    def quote(self, name: str) -> str:
        return quote_identifier(name)

    def close(self) -> None:
        self._connection.close()


def _plain_text(value: Any) -> str | None:
    """A value of a column of mixed types."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value if value is None or isinstance(value, str) else str(value)
