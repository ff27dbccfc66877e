"""How the pipeline does, on one screen: what readers have, the last runs, what failed, and how old the models are."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from textwrap import shorten, wrap

import duckdb
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.storage.tags import PARTITION_NAME_TAG

from orchestration.alerts import without_trace
from orchestration.freshness import Freshness, current_freshness, in_words
from orchestration.jobs import DAILY_REFRESH
from orchestration.landing import LandingError, in_force, read_ledger
from orchestration.resources.publication import CLOCK_TOLERANCE, PublicationError, PublicationStore
from orchestration.resources.registry import RegistryError, registry_of
from orchestration.run import failures_of
from orchestration.settings import MODELS, Settings
from orchestration.sources import Source

WIDTH, LABEL = 100, 11
NAME = max(map(len, MODELS))
SHOWN_RUNS, SHOWN_FAILURES, LINES_OF_A_FAILURE = 5, 5, 3
UNDER_WAY = (DagsterRunStatus.STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.QUEUED)


def status(settings: Settings, source: Source, instance: DagsterInstance, now: datetime) -> tuple[str, bool]:
    """The screen, at most 100 columns wide, and whether what readers have is as fresh and whole as it should be.

    Args:
        settings: Where everything is.
        source: Whose.
        instance: With the runs.
        now: Aware.
    """
    title = f"{source.name}, {now:%Y-%m-%d %H:%M} UTC"
    try:
        freshness = current_freshness(settings, source, now)
        is_well = not freshness.is_late
        published = list(_published(settings, freshness))
    except PublicationError as error:
        freshness, is_well, published = None, False, _wrapped(str(error))
    lines = [title, "", *_section("published", published), *_section("landed", _landed(settings, now))]
    lines += _section("runs", _runs(instance))
    lines += _section("failed", _failed(settings, instance, freshness))
    lines += _section("models", _models(settings, freshness))
    return "\n".join(line.rstrip() for line in lines), is_well


def _section(label: str, lines: Iterable[str]) -> list[str]:
    shown = list(lines) or ["none"]
    return [f"{label if position == 0 else '':<{LABEL}}{line}" for position, line in enumerate(shown)]


def _wrapped(text: str) -> list[str]:
    return wrap(text, WIDTH - LABEL) or [""]


def _published(settings: Settings, freshness: Freshness) -> Iterator[str]:
    if freshness.publication is None or freshness.fresh_until is None:
        yield "nothing yet: run make refresh"
        return
    yield from _wrapped(str(freshness))
    store = PublicationStore(settings.published_dir, settings.keep_versions)
    versions = store.versions()
    size = (settings.published_dir / "current.duckdb").stat().st_size
    due = "" if freshness.is_late else f"; the next is due by {freshness.fresh_until:%Y-%m-%d %H:%M} UTC"
    yield f"{len(freshness.publication.tables)} tables, {size / 1e6:,.0f} MB{due}"
    yield f"{len(versions)} versions to roll back to, from {versions[0].version}" if versions else "no other version"


def _landed(settings: Settings, now: datetime) -> Iterator[str]:
    try:
        entries = [entry for entries in in_force(read_ledger(settings.raw_dir)).values() for entry in entries]
    except LandingError as error:
        yield from _wrapped(str(error))
        return
    if entries:
        newest = max(datetime.fromisoformat(entry.loaded_at) for entry in entries)
        rows = sum(entry.rows for entry in entries)
        landed = f"{in_words(max(now - newest, timedelta()))} ago"
        if newest - now > CLOCK_TOLERANCE:
            landed = f"at {newest:%Y-%m-%d %H:%M} UTC, which is yet to come"
        yield f"{len(entries)} files in force with {rows:,} rows, the newest landed {landed}"


def _runs(instance: DagsterInstance) -> Iterator[str]:
    for record in instance.get_run_records(limit=SHOWN_RUNS):
        run = record.dagster_run
        started = datetime.fromtimestamp(record.start_time or record.create_timestamp.timestamp(), UTC)
        ended = record.end_time and record.start_time and max(record.end_time - record.start_time, 0)
        took = "" if ended is None else f"{ended:,.0f} s"
        day = run.tags.get(PARTITION_NAME_TAG, "")
        what = "" if run.job_name == DAILY_REFRESH else f"  {run.job_name}"
        yield f"{started:%Y-%m-%d %H:%M}  as of {day:<10}  {run.status.value.lower():<9}  {took:>7}{what}"


def _failed(settings: Settings, instance: DagsterInstance, freshness: Freshness | None) -> Iterator[str]:
    """What stopped the newest run, if it did; what the published version was warned of."""
    newest = next(
        (record.dagster_run for record in instance.get_run_records(limit=SHOWN_RUNS) if record.dagster_run.is_finished),
        None,
    )
    said: list[str] = []
    if newest is not None and newest.status == DagsterRunStatus.FAILURE:
        said += failures_of(instance, newest.run_id) or ["the newest run ended without a word: its process is gone"]
    if freshness is not None and freshness.publication is not None:
        warned = _in_published(
            settings,
            "select distinct check_name, table_name from marts.data_quality_results where not passed and run_id ="
            # Its own run: what another one found when the clock was ahead is later than its publication.
            " (select max_by(run_id, checked_at) from marts.data_quality_results where checked_at <="
            " (select max(published_at) from marts.publication)) order by all",
        )
        said += [f"warned: {check} on {table}" for check, table in warned]
    for line in said[:SHOWN_FAILURES]:
        # A long path is broken rather than left out: what is wrong with it comes after it.
        yield from wrap(without_trace(line), WIDTH - LABEL, max_lines=LINES_OF_A_FAILURE, placeholder=" …")
    if len(said) > SHOWN_FAILURES:
        yield f"and {len(said) - SHOWN_FAILURES} more, in data_quality_results and in the UI"


def _models(settings: Settings, freshness: Freshness | None) -> Iterator[str]:
    registry = registry_of(settings)
    day = None if freshness is None or freshness.publication is None else freshness.publication.as_of_date
    watched = {} if day is None else {row[0]: row for row in _in_published(settings, WATCHED)}
    for model in MODELS:
        days = sorted(path.parent.name for path in (settings.models_dir / model).glob("*/record.json"))
        if not days:
            yield f"{model:<{NAME}} nobody scores yet"
            continue
        try:
            record = registry.record_of(model, date.fromisoformat(days[-1]))
        except RegistryError as error:
            yield _named(model, str(error))
            continue
        if record.trained_as_of is None:
            yield _named(model, f"{record.scores} scores: {record.reasons[0]}")
            continue
        age = date.fromisoformat(days[-1]) - date.fromisoformat(record.trained_as_of)
        _, matured, beyond = watched.get(model, (model, None, 0))
        yield (
            f"{model:<{NAME}} version {record.version:<2} of {record.trained_as_of}, {_days(age):<8}"
            f" {matured or '':<21} {f'{beyond} beyond limits' if beyond else ''}"
        )


def _named(model: str, text: str) -> str:
    return f"{model:<{NAME}} {shorten(text, WIDTH - LABEL - NAME - 1, placeholder=' …')}"


WATCHED = """
    select
        model,
        max(metric || ' ' || round(value, 3) || ' (' || round(expected, 3) || ')')
            filter (where kind = 'matured' and expected is not null),
        count(*) filter (where status != 'ok')
    from marts.model_monitoring
    where as_of_date = (select max(as_of_date) from marts.model_monitoring)
    group by model
"""


def _days(age: timedelta) -> str:
    return "that day" if age.days == 0 else f"{age.days} days"


def _in_published(settings: Settings, query: str) -> Sequence[tuple[object, ...]]:
    """Rows of the published file; none where it is of a version that lacks the table."""
    try:
        with duckdb.connect(str((settings.published_dir / "current.duckdb").resolve()), read_only=True) as connection:
            return connection.execute(query).fetchall()
    except (duckdb.CatalogException, duckdb.BinderException):
        return []
