"""What keeps years of refreshes in bounds and whole: pruning by policy, and looking at every file that is kept.

Published versions are pruned by their store as they are published. Nothing here decides what is current.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from orchestration.content_hash import quote_identifier
from orchestration.landing import LandingError, LedgerEntry, read_ledger, verify_raw
from orchestration.resources.publication import PublicationStore
from orchestration.resources.registry import RegistryError, registry_of
from orchestration.resources.warehouse import exclusive_lock
from orchestration.scores import sealed_and_found
from orchestration.settings import MODELS, Settings

RUNS_AT_A_TIME = 100
ENDED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]


@dataclass(frozen=True)
class Pruned:
    """What was removed.

    Attributes:
        what: In the plural.
        count: How many.
        bytes: Of files; 0 where records went.
    """

    what: str
    count: int
    bytes: int = 0

    def __str__(self) -> str:
        size = f", {self.bytes / 1e6:,.1f} MB" if self.bytes else ""
        return f"{self.count:,} {self.what}{size}"


def prune(settings: Settings, instance: DagsterInstance) -> list[Pruned]:
    """Removes what is older than the settings keep; never what is in force, current, or under way.

    Raises:
        WarehouseError: A refresh is running.
        LandingError: The ledger is damaged.
        RegistryError: The registry cannot be reached; all else has been pruned.
    """
    with exclusive_lock(settings.warehouse_path.with_suffix(".lock"), settings.lock_timeout_seconds):
        return [
            _prune_raw(settings),
            _prune_scores(settings),
            _prune_fits(settings),
            _prune_check_results(settings),
            _prune_runs(settings, instance),
            Pruned("model versions", registry_of(settings).prune(MODELS, settings.keep_model_versions)),
        ]


def _prune_raw(settings: Settings) -> Pruned:
    """Files of superseded loads; the ledger keeps their lines, and a file that is delivered again is landed again."""
    loads: dict[tuple[str, str], list[LedgerEntry]] = {}
    for entry in read_ledger(settings.raw_dir):
        loads.setdefault((entry.table, entry.source_file), []).append(entry)
    newest = [entry for entries in loads.values() for entry in entries[-settings.keep_raw_loads :]]
    kept = {name for entry in newest for name in entry.hashes}
    old = {name for entries in loads.values() for entry in entries for name in entry.hashes} - kept
    return _remove("superseded raw files", (settings.raw_dir / name for name in sorted(old)))


def _prune_scores(settings: Settings) -> Pruned:
    """Days of scores before the newest one less what is kept."""
    files = sorted(settings.scores_dir.glob("*/*.parquet"))
    newest = max((_day_of(path) for path in files), default=date.min)
    least = newest - timedelta(days=min(settings.keep_score_days, (newest - date.min).days))
    return _remove("score files", (path for path in files if _day_of(path) < least))


def _prune_fits(settings: Settings) -> Pruned:
    """What was fitted for campaigns or weeks that are not scored any more, and what a killed run left unfinished."""
    before = (datetime.now(UTC) - timedelta(days=settings.keep_run_days)).timestamp()
    return _remove("fits", (path for path in settings.fits_dir.glob("*") if path.stat().st_mtime < before))


def _day_of(path: Path) -> date:
    return date.fromisoformat(path.name[:10])


def _remove(what: str, paths: Iterator[Path]) -> Pruned:
    count = size = 0
    for path in paths:
        if path.exists():
            size += path.stat().st_size
            path.unlink()
            count += 1
    return Pruned(what, count, size)


def _prune_check_results(settings: Settings) -> Pruned:
    """Old results of checks, but the newest of each: that is the one that publication asks for."""
    if not settings.warehouse_path.exists():
        return Pruned("check results", 0)
    before = (datetime.now(UTC) - timedelta(days=settings.keep_run_days)).replace(tzinfo=None)
    with duckdb.connect(str(settings.warehouse_path), config=dict(settings.duckdb_config())) as connection:
        (count,) = connection.execute(
            "delete from control.check_results where checked_at < $before and result_id not in"
            " (select max(result_id) from control.check_results group by check_name, table_name)"
            # Which days were published is asked for as long as they are kept.
            " and not (gate = 'publication' and passed)",
            {"before": before},
        ).fetchall()[0]
    return Pruned("check results", int(count))


def _prune_runs(settings: Settings, instance: DagsterInstance) -> Pruned:
    """Runs that have ended, with their events and what they printed."""
    before = datetime.now(UTC) - timedelta(days=settings.keep_run_days)
    old = RunsFilter(statuses=ENDED, updated_before=before)
    count = 0
    while runs := instance.get_runs(old, limit=RUNS_AT_A_TIME):
        for run in runs:
            instance.compute_log_manager.delete_logs(prefix=[run.run_id])
            instance.delete_run(run.run_id)
        count += len(runs)
    return Pruned("runs", count)


# Looking at what is kept ---------------------------------------------------------------------------


def verify(settings: Settings, say: Callable[[str], None]) -> list[str]:
    """Looks at every published, landed and registered file, and reads the warehouse and the scores through.

    Args:
        settings: Where they are.
        say: Told what is looked at next.

    Returns:
        What is damaged, a sentence each with what to do; nothing where all is whole.
    """
    problems = []
    for what, look in (
        ("published versions", _damaged_versions),
        ("raw files", _damaged_raw),
        ("registered models", _damaged_models),
        ("scores", _damaged_scores),
        ("warehouse", _damaged_warehouse),
    ):
        found = list(look(settings))
        say(f"{what}: {'whole' if not found else f'{len(found)} damaged'}")
        problems += found
    return problems


def _damaged_versions(settings: Settings) -> Iterator[str]:
    yield from PublicationStore(settings.published_dir, settings.keep_versions).damage()


def _damaged_raw(settings: Settings) -> Iterator[str]:
    try:
        yield from verify_raw(settings.raw_dir)
    except LandingError as error:
        yield str(error)


def _damaged_models(settings: Settings) -> Iterator[str]:
    try:
        yield from registry_of(settings).damage(MODELS)
    except RegistryError as error:
        yield str(error)


def _damaged_scores(settings: Settings) -> Iterator[str]:
    with duckdb.connect() as connection:
        for path in sorted(settings.scores_dir.glob("*/*.parquet")):
            remedy = f"Remove it; make refresh AS_OF={_day_of(path)} makes it again"
            try:
                seal, found = sealed_and_found(connection, path)
                if seal not in (None, found):
                    yield f"{path} is not what was written. {remedy}"
            except duckdb.Error as error:
                yield f"{path} cannot be read ({str(error).splitlines()[0]}). {remedy}"


def _damaged_warehouse(settings: Settings) -> Iterator[str]:
    path = settings.warehouse_path
    if not path.exists():
        return
    try:
        with duckdb.connect(str(path), read_only=True, config=dict(settings.duckdb_config())) as connection:
            tables = connection.execute("select schema_name, table_name from duckdb_tables()").fetchall()
            for schema, name in tables:
                # Each block's checksum is compared as it is read.
                columns = connection.execute(f"describe {schema}.{quote_identifier(name)}").fetchall()
                hashes = ", ".join(f"max(hash({quote_identifier(column)}))" for column, *_ in columns)
                connection.execute(f"select {hashes} from {schema}.{quote_identifier(name)}").fetchall()
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        if "Could not set lock" in reason:
            yield f"{path} is in use ({reason}). Verify again when no refresh is running"
        else:
            yield f"{path} is damaged ({reason}). Remove it; the next refresh builds it again from raw"
