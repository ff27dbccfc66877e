"""Refreshes that are killed, wherever a test wants it: after a step, after a statement of dbt, after a call of MLflow.

What is killed is the whole process group, as when a machine loses its power.
"""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb

from orchestration.content_hash import table_content
from orchestration.resources.publication import Publication
from orchestration.settings import PROJECT_ROOT
from tests.pipeline import Home

Refresh = subprocess.Popen[str]
REFRESH = ("-m", "orchestration", "refresh")
HANGS_AFTER_SECONDS = 3600  # one that waits for ever, say for what a killed one holds; else it ends whenever it does

# Python runs this at its start where it is found: in dbt it ends everything once a statement has run, uncommitted.
KILL_AFTER_STATEMENT = """
import os, re, signal, sys
from pathlib import Path

if Path(sys.orig_argv[1]).name == "dbt":
    from dbt.adapters.duckdb.environments.local import DuckDBCursorWrapper

    execute, killing = DuckDBCursorWrapper.execute, re.compile(os.environ["KILL_AFTER"], re.DOTALL)

    def watched(self, sql, bindings=None):
        result = execute(self, sql, bindings)
        if killing.search(sql):
            os.killpg(0, signal.SIGKILL)
        return result

    DuckDBCursorWrapper.execute = watched
"""

# The refresh, which ends at once after a call by which the registry changes something.
KILL_AFTER_CALL = """
import os, signal, sys
from mlflow import MlflowClient
from orchestration.cli import main

call = getattr(MlflowClient, sys.argv[1])

def watched(*arguments, **options):
    call(*arguments, **options)
    os.killpg(0, signal.SIGKILL)

setattr(MlflowClient, sys.argv[1], watched)
sys.exit(main(["refresh"]))
"""
# Calls by which a version is registered, in their order.
REGISTERING = (
    *("create_experiment", "create_run", "log_batch", "log_artifacts", "set_terminated", "create_registered_model"),
    *("create_model_version", "set_registered_model_alias"),
)


# How dbt builds on top of what is there: in one transaction what has changed goes, and then its new rows come.
BUILDING = ("create temporary table", "(?:delete from .*)?insert into")


@dataclass(frozen=True)
class Statement:
    """A statement by which dbt builds a model, and after which the power fails.

    Attributes:
        node: The model's unique id.
        begins: What it begins with, one of `BUILDING`.
    """

    node: str
    begins: str


@dataclass(frozen=True)
class Call:
    """One of `REGISTERING`, after which the power fails."""

    name: str


# A step that has succeeded, seconds from the start, or one of the above.
Moment = str | float | Statement | Call


def start(home: Home, *command: str, **environment: str) -> Refresh:
    """A refresh under way, with its dbt in one process group."""
    return subprocess.Popen(
        [sys.executable, *(command or REFRESH)],
        cwd=PROJECT_ROOT,
        env=home.environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def runs(home: Home) -> set[Path]:
    """The event logs of the home's runs."""
    return set((home.settings.dagster_home / "history" / "runs").glob("*-*.db"))


def wait_for(home: Home, step: str, before: set[Path], refresh: Refresh, event: str = "STEP_SUCCESS") -> None:
    """Returns once the new run has finished a step, or begun it; its event log says so."""
    query = "select count(*) from event_logs where dagster_event_type = ? and step_key = ?"
    deadline = time.monotonic() + HANGS_AFTER_SECONDS
    while refresh.poll() is None and time.monotonic() < deadline:
        for log in runs(home) - before:
            try:
                with sqlite3.connect(f"file:{log}?mode=ro", uri=True) as connection:
                    if connection.execute(query, [event, step]).fetchone() != (0,):
                        return
            except sqlite3.OperationalError:
                pass  # being made
        time.sleep(0.01)
    raise AssertionError(f"the refresh ended, or hung, before {step} had come to {event}:\n{kill(refresh)}")


def steps_of(home: Home) -> list[str]:
    """The steps of the newest run, in the order in which they succeeded."""
    newest = max(runs(home), key=lambda log: log.stat().st_mtime)
    query = "select step_key from event_logs where dagster_event_type = 'STEP_SUCCESS' order by id"
    with sqlite3.connect(f"file:{newest}?mode=ro", uri=True) as connection:
        return [step for (step,) in connection.execute(query)]


def kill(refresh: Refresh) -> str:
    """Ends a refresh with all its processes, wherever it stands; what it had printed."""
    if refresh.poll() is None:
        os.killpg(refresh.pid, signal.SIGKILL)
    output, _ = refresh.communicate()
    return output


def killed(home: Home, moment: Moment, folder: Path, **environment: str) -> None:
    """A refresh that is killed at a moment.

    Args:
        home: Whose.
        moment: When.
        folder: For what has to lie on the disk for it.
        environment: Of the refresh.
    """
    if isinstance(moment, Statement):
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(KILL_AFTER_STATEMENT)
        pattern = rf'"node_id": "{re.escape(moment.node)}".*?\*/\s*{moment.begins}'
        refresh = start(home, PYTHONPATH=str(folder), KILL_AFTER=pattern, **environment)
    elif isinstance(moment, Call):
        refresh = start(home, "-c", KILL_AFTER_CALL, moment.name, **environment)
    else:
        before = runs(home)
        refresh = start(home, **environment)
        if isinstance(moment, str):
            wait_for(home, moment, before, refresh)
        else:
            time.sleep(moment)
        kill(refresh)
        return
    try:
        output, _ = refresh.communicate(timeout=HANGS_AFTER_SECONDS)
    except subprocess.TimeoutExpired:
        output = kill(refresh)
        raise AssertionError(f"the refresh hung before {moment}:\n{output}") from None
    assert refresh.returncode == -signal.SIGKILL, f"it never came to {moment}:\n{output}"


def hashes(publication: Publication) -> dict[str, str]:
    """Content hash of each table that does not describe the run itself."""
    return {
        table.table_name: table.content_hash
        for table in publication.tables
        if table.table_name != "data_quality_results"
    }


def current_hashes(home: Home) -> dict[str, str]:
    """The hashes of the current version, whose tables are all what it says: intact, and of one version."""
    publication = home.store.verify()
    with duckdb.connect(str(home.store.current_file()), read_only=True) as connection:
        rows = connection.execute("select table_name, version, content_hash from marts.publication").fetchall()
        found = {name: table_content(connection, f"marts.{name}").content_hash for name, *_ in rows}
    assert {version for _, version, _ in rows} == {publication.version}
    assert {name: content_hash for name, _, content_hash in rows} == found
    return hashes(publication)


def copy_of(home: Home, folder: Path) -> Home:
    """A home of its own with the same state and files."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", str(home.data), str(folder / "data")], check=True)
    subprocess.run(["cp", "-a", str(home.input), str(folder / "input")], check=True)
    return Home(folder / "data", folder / "input")


def inbox(home: Home) -> Path:
    """The home's own input files."""
    assert home.input is not None
    return home.input


def kept_models(home: Home) -> list[str]:
    """Every model that dbt builds on top of what is there, in an order in which they can be built."""
    nodes = {name: node for name, node in home.manifest["nodes"].items() if node["resource_type"] == "model"}
    ordered: list[str] = []

    def visit(name: str) -> None:
        for parent in nodes[name]["depends_on"]["nodes"]:
            if parent in nodes and parent not in ordered:
                visit(parent)
        if name not in ordered:
            ordered.append(name)

    for name in sorted(nodes):
        visit(name)
    return [name for name in ordered if nodes[name]["config"]["materialized"] == "incremental"]
