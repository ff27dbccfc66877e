"""A source's past as if it were happening: each day lands what had come by then, is refreshed, and becomes current.

A backfill goes over past days with the files of today, for the history; a replay shows what every day would have been
like, gates that fail included.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from time import perf_counter
from zoneinfo import ZoneInfo

import duckdb

from orchestration.content_hash import quote_identifier
from orchestration.extraction import extract
from orchestration.file_format import FORMAT_NAME, literal
from orchestration.freshness import in_words
from orchestration.landing import input_files, input_views, raw_rows
from orchestration.resources.publication import PublicationStore
from orchestration.run import run_daily_refresh
from orchestration.settings import Settings, SettingsError
from orchestration.sources import Source

DAYS_OF = {"d": 1, "w": 7}


def days_between(first: date, last: date, every: int) -> list[date]:
    """Days from the first to the last, so many apart.

    Raises:
        SettingsError: There is none.
    """
    if every < 1 or first > last:
        raise SettingsError(
            f"from {first} to {last} every {every} days there is no day; give FROM= not after TO=, EVERY= of 1 or more"
        )
    return [first + timedelta(days=step) for step in range(0, (last - first).days + 1, every)]


def span_of_days(text: str) -> int:
    """Days in a span such as 7, 7d or 1w.

    Raises:
        ValueError: It is none.
    """
    found = re.fullmatch(r"(\d+)([dw]?)", text)
    if found is None:
        raise ValueError(f"{text!r} is not a number of days; give it as 7, 7d or 1w")
    return int(found[1]) * DAYS_OF[found[2] or "d"]


def cut_files(source: Source, files: Path, day: date, folder: Path) -> None:
    """The source's files as they would have been at a day's midnight, in a folder of their own.

    Orders end there. The other files are taken as they are: what they hold is planned ahead, or carries no time at
    which it came; rows from the day on change nothing of it.

    Args:
        source: Whose.
        files: All of them.
        day: The midnight, in the business time zone.
        folder: Where to.
    """
    orders = source.orders
    assert orders.event_at is not None
    midnight = datetime.combine(day, time(), ZoneInfo(source.time_zone)).astimezone(UTC).replace(tzinfo=None)
    if orders.takes_text:
        _cut_own_files(source, files, midnight, folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    for table in source.tables:
        given, target = files / f"{table.name}.parquet", folder / f"{table.name}.parquet"
        target.unlink(missing_ok=True)
        if table.name != orders.name:
            target.symlink_to(given)
            continue
        come = f"{quote_identifier(orders.event_at)} < timestamp '{midnight}'"
        with duckdb.connect() as connection:
            connection.read_parquet(str(given)).filter(come).write_parquet(str(target))


def _cut_own_files(source: Source, files: Path, midnight: datetime, folder: Path) -> None:
    """The same of files that may be CSV, one or many: what is cut becomes Parquet with the text as delivered.

    Rows of other tables that name a later order end with it. The other files are copied, as landing follows no link
    out of its folder. Orders whose time cannot be read are left out.
    """
    orders = source.orders
    event_at = f"try_cast({quote_identifier(orders.event_at or '')} as timestamp)"
    key = ", ".join(f"{quote_identifier(name)}::varchar" for name in orders.key)
    later = f"select {key} from {orders.view} where {event_at} >= timestamp '{midnight}'"
    cut = {orders.name: f"{event_at} < timestamp '{midnight}'"} | {
        table.name: f"({key}) not in ({later})"
        for table in source.tables
        if table.name != orders.name and set(orders.key) <= {column.name for column in table.columns}
    }
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if (files / FORMAT_NAME).exists():
        shutil.copyfile(files / FORMAT_NAME, folder / FORMAT_NAME)
    for table in source.tables:
        for file in input_files(table, files) if table.name not in cut else ():
            (folder / file.name).parent.mkdir(exist_ok=True)
            shutil.copyfile(file.path, folder / file.name)
    tables = tuple(table for table in source.tables if table.name in cut)
    with input_views(replace(source, tables=tables), files) as views:
        for problem in views.problems.values():
            raise problem
        for table in tables:
            for entry in views.ledger[table.name]:
                target = (folder / entry.source_file).with_suffix(".parquet")
                target.parent.mkdir(exist_ok=True)
                columns = ", ".join(map(quote_identifier, entry.columns))
                views.connection.execute(
                    f"copy (select {columns} from {raw_rows(entry, views.folder)}"
                    f" semi join (select _row_number from {table.view}"
                    f" where _source_file = {literal(entry.source_file)} and {cut[table.name]}) using (_row_number))"
                    f" to {literal(str(target))} (format parquet)"
                )


@dataclass(frozen=True)
class ReplayedDay:
    """What became of a day.

    Attributes:
        day: The day.
        seconds: What it took.
        version: What was published; None where a gate failed.
        failures: What failed, a line or more each.
    """

    day: date
    seconds: float
    version: str | None
    failures: tuple[str, ...]


def replay(settings: Settings, source: Source, days: list[date], say: Callable[[str], None]) -> Iterator[ReplayedDay]:
    """Refreshes day after day, each with the files of that day; a day that fails leaves the next one to come.

    What was published already is not done again, so that a replay that was stopped goes on. What dbt prints is in a
    log beside the folder of the day's files.

    Args:
        settings: Of a folder that has not seen later days.
        source: What is replayed.
        days: Oldest first.
        say: Told a line per day.

    Raises:
        SettingsError: All these days are behind what is published.
    """
    from orchestration.definitions import build_defs

    files, folder = source.input_dir(settings.input), settings.data / "replay" / source.name
    store = PublicationStore(settings.published_dir, settings.keep_versions)
    published = store.current()
    due = [day for day in days if published is None or day > published.as_of_date]
    if not due:
        raise SettingsError(
            f"what is published is as of {published and published.as_of_date}, and a replay goes forward. Give a folder"
            " of its own in CUSTOMER360_DATA, or later days in FROM= and TO="
        )
    if len(due) < len(days):
        say(f"{len(days) - len(due)} days are behind what is published, and are not done again")
    extract(settings, source)
    definitions, started = build_defs(data=settings.data, input=folder, input_mapping=None), perf_counter()
    for number, day in enumerate(due, start=1):
        began = perf_counter()
        cut_files(source, files, day, folder)
        # dbt tells some 200 lines a day, among which those of the replay would be lost.
        with folder.with_suffix(".log").open("a", encoding="utf-8") as log, redirect_stdout(log):
            outcome = run_daily_refresh(day, settings, log_level="CRITICAL", definitions=definitions)
        current = store.current()
        version = current.version if current is not None and not outcome.failures else None
        done = ReplayedDay(day, perf_counter() - began, version, outcome.failures)
        left = timedelta(seconds=(perf_counter() - started) / number * (len(due) - number))
        say(
            f"{day}  {number:>3} of {len(due)}  {done.seconds:>4.0f} s  {version or 'not published':<20}"
            f" {f'{len(done.failures)} failed' if done.failures else 'all gates passed'}"
            f"{f', {in_words(left)} left' if number < len(due) else ''}"
        )
        for failure in done.failures:
            say(f"    {failure}")
        yield done
