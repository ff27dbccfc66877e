"""Real servers for tests: PostgreSQL and MariaDB of the machine, in a temporary folder, on loopback, for one test run.

Where a machine has none, tests that need one are skipped, unless REQUIRE_DATABASES=1 says that they must run.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote, urlsplit

import adbc_driver_postgresql.dbapi
import pyarrow.parquet as pq
import pymysql
import pytest

USER, DATABASE = "reader", "crm"
# An invented canary, with characters that an address has to spell otherwise; it is looked for everywhere afterwards.
PASSWORD = "canary/9f3e@q#7:%2e"
START_SECONDS = 60
FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/sbin", "/usr/libexec")


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        url: Its address without a password, as INPUT takes it.
        process: The server itself.
    """

    url: str
    process: "subprocess.Popen[bytes]"

    @property
    def url_with_password(self) -> str:
        """The address with the password in it."""
        return self.url.replace("@", f":{quote(PASSWORD, safe='')}@")

    @property
    def kind(self) -> str:
        """Its scheme."""
        return urlsplit(self.url).scheme

    def load(self, folder: Path) -> None:
        """Makes a table of each Parquet file in a folder. PostgreSQL only."""
        for path in sorted(folder.glob("*.parquet")):
            with self.connect() as connection, connection.cursor() as cursor:
                cursor.adbc_ingest(path.stem, pq.read_table(path), mode="create")

    def connect(self) -> Any:
        """A connection of the tests' own, that commits each statement."""
        parts = urlsplit(self.url)
        if self.kind == "postgresql":
            return adbc_driver_postgresql.dbapi.connect(self.url_with_password, autocommit=True)
        return pymysql.connect(
            host=parts.hostname,
            port=parts.port or 0,
            user=USER,
            password=PASSWORD,
            database=DATABASE,
            autocommit=True,
        )

    def run(self, *statements: str) -> None:
        """Runs statements one by one."""
        connection = self.connect()
        try:
            for statement in statements:
                cursor = connection.cursor()
                cursor.execute(statement)
                cursor.close()
        finally:
            connection.close()

    def end_other_connections(self) -> int:
        """Ends whoever else is connected, as an administrator would; how many there were."""
        connection = self.connect()
        try:
            cursor = connection.cursor()
            if self.kind == "postgresql":
                cursor.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where pid <> pg_backend_pid() and backend_type = 'client backend'"
                )
                ended = len(cursor.fetchall())
            else:
                cursor.execute(
                    f"select id from information_schema.processlist where id <> connection_id() and user = '{USER}'"
                )
                others = [row[0] for row in cursor.fetchall()]
                for other in others:
                    cursor.execute(f"kill {other}")
                ended = len(others)
            cursor.close()
            return ended
        finally:
            connection.close()


def _program(name: str) -> str:
    found = shutil.which(name) or next(
        (str(path) for folder in FOLDERS for path in sorted(Path("/").glob(f"{folder[1:]}/{name}"), reverse=True)), None
    )
    if found is None:
        reason = f"{name} is not installed; on Debian: apt-get install postgresql mariadb-server"
        if os.environ.get("REQUIRE_DATABASES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _as_user(user: str) -> list[str]:
    """Neither server runs as root."""
    return ["runuser", "-u", user, "--"] if os.geteuid() == 0 else []


def _wait(server: Server, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            server.connect().close()
            return
        except (adbc_driver_postgresql.dbapi.Error, pymysql.Error) as error:
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start ({error}):\n{log.read_text()[-2000:]}") from error
            time.sleep(0.1)


@contextmanager
def _running(command: list[str], url: str, log: Path) -> Iterator[Server]:
    with log.open("wb") as output:
        server = Server(url, subprocess.Popen(command, stdout=output, stderr=output))
    try:
        _wait(server, log)
        yield server
    finally:
        server.process.terminate()
        server.process.wait(START_SECONDS)


@contextmanager
def _folder(user: str) -> Iterator[Path]:
    """A short path, as sockets need, that the server's user may enter."""
    with TemporaryDirectory(prefix="c360-") as temporary:
        folder = Path(temporary)
        if os.geteuid() == 0:
            shutil.chown(folder, user)
        yield folder


@contextmanager
def postgresql() -> Iterator[Server]:
    """A PostgreSQL with an empty database."""
    initdb, postgres, port = _program("initdb"), _program("postgres"), free_port()
    with _folder("postgres") as folder:
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        as_user = _as_user("postgres")
        options = ["-U", USER, f"--pwfile={secret}", "-A", "scram-sha-256", "-N", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run([*as_user, initdb, "-D", str(folder / "data"), *options], check=True, capture_output=True)
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", f"port={port}"]
        command = [*as_user, postgres, "-D", str(folder / "data"), *(f"--{setting}" for setting in settings)]
        url = f"postgresql://{USER}@127.0.0.1:{port}/{DATABASE}"
        with _running(command, url.replace(f"/{DATABASE}", "/postgres"), folder / "log") as server:
            server.run(f"create database {DATABASE}")
            yield Server(url, server.process)


@contextmanager
def mariadb() -> Iterator[Server]:
    """A MariaDB with an empty database."""
    install, mariadbd, port = _program("mariadb-install-db"), _program("mariadbd"), free_port()
    with _folder("mysql") as folder:
        data, as_user = folder / "data", _as_user("mysql")
        subprocess.run(
            [*as_user, install, "--no-defaults", f"--datadir={data}", "--skip-test-db", "--skip-name-resolve"],
            check=True,
            capture_output=True,
        )
        (folder / "init.sql").write_text(
            f"create database {DATABASE} character set utf8mb4;\n"
            f"create user '{USER}'@'127.0.0.1' identified by '{PASSWORD}';\n"
            f"grant all on *.* to '{USER}'@'127.0.0.1';\n"
        )
        options = {
            "datadir": data,
            "port": port,
            "bind-address": "127.0.0.1",
            "socket": folder / "socket",
            "pid-file": folder / "pid",
            "init-file": folder / "init.sql",
            "innodb-flush-log-at-trx-commit": 0,
        }
        command = [*as_user, mariadbd, "--no-defaults", "--skip-name-resolve"]
        command += [f"--{name}={value}" for name, value in options.items()]
        with _running(command, f"mysql://{USER}@127.0.0.1:{port}/{DATABASE}", folder / "log") as server:
            yield server


SERVERS: dict[str, Callable[[], Any]] = {"postgresql": postgresql, "mysql": mariadb}

# The contract's tables in a few rows, with what may go wrong on the way: text beyond ASCII, empty and missing text,
# amounts that floating point would change, and times up to the microsecond.
TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "customers": (
        "customer_id varchar(20) primary key, first_name varchar(40), city varchar(40), created_at timestamp null,"
        " marketing_consent boolean",
        (
            "'C1', 'Ann', 'Łódź', '2024-01-01 10:00:00', true",
            "'C2', 'O''Neil \"x\"', '東京', '2024-02-29 23:59:59', false",
            "'C3', '', null, null, null",
        ),
    ),
    "orders": (
        "order_id bigint primary key, customer_id varchar(20), ordered_at {time}, status varchar(20),"
        " updated_at {time}",
        (
            "9007199254740993, 'C1', '2025-01-05 12:30:00.123456', 'paid', '2025-01-05 12:30:00.123456'",
            "2, 'C2', '2025-02-01 00:00:00', 'paid', '2025-02-01 00:00:00'",
            "3, 'C1', '2025-03-01 08:00:00', null, '2025-03-01 08:00:00'",
        ),
    ),
    "order_lines": (
        "order_line_id integer primary key, order_id bigint, product_id varchar(20), quantity decimal(18, 3),"
        " net_sales decimal(18, 2)",
        (
            "1, 9007199254740993, 'P1', 1.000, 0.10",
            "2, 2, 'P2', 2.500, 1234567890123456.78",
            "3, 3, 'P1', -1.000, -0.30",
        ),
    ),
    "products": ("product_id varchar(20) primary key, product_name varchar(40)", ("'P1', 'Tea'", "'P2', 'Café'")),
}
TIME_TYPES = {"postgresql": "timestamp", "mysql": "datetime(6)", "sqlite": "text"}


def statements(kind: str) -> list[str]:
    """What makes the contract's tables in a database of this kind."""
    made = []
    for table, (columns, rows) in TABLES.items():
        made.append(f"drop table if exists {table}")
        made.append(f"create table {table} ({columns.format(time=TIME_TYPES[kind])})")
        made += [f"insert into {table} values ({row})" for row in rows]
    return made
