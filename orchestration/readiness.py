"""Readiness: what a refresh would find in a folder of files, told before it runs. Nothing of the project is written.

The files are read through the raw views that a refresh would read them through, so that what is told here is what the
run will meet. DuckDB counts; of personal columns no value is shown. The proposal of windows is in `purchase_rhythm`,
what the models need in `model_requirements`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import duckdb

from orchestration.checks.landing import LandingProfile, profile_raw_table
from orchestration.content_hash import quote_identifier
from orchestration.dbt_project import thresholds
from orchestration.extraction import extract
from orchestration.landing import InputViews, LandingError, LedgerEntry, business_day, input_views, undeclared_columns
from orchestration.model_requirements import Campaign, OrderDays, Verdict, verdicts
from orchestration.models import ResponseModel
from orchestration.purchase_rhythm import (
    Proposal,
    Rhythm,
    make_order_days,
    propose,
    read_rhythm,
    windows_in_force,
)
from orchestration.resources.warehouse import CONTROL_TABLES
from orchestration.settings import Settings
from orchestration.sources import RawColumn, RawTable, Source

Part = Literal["tables", "columns", "types", "keys", "orders"]
PARTS: tuple[Part, ...] = ("tables", "columns", "types", "keys", "orders")
# What becomes of a row that names something that there is not: of an order or campaign it goes to quarantine, of a
# product it is joined to the unknown one, of a customer it makes one with an unknown profile.
QUARANTINED_WITHOUT = ("orders", "campaigns")
CAMPAIGN_COLUMNS = {
    "campaigns": {"campaign_id", "start_date", "end_date"},
    "campaign_members": {"campaign_id", "customer_id"},
    "campaign_responses": {"campaign_id", "customer_id"},
}


@dataclass(frozen=True)
class Finding:
    """Something to know before a run.

    Attributes:
        part: Part of the report.
        table: Raw table.
        text: What was found, what was expected, what to do.
        blocks: A refresh would stop at it.
    """

    part: Part
    table: str
    text: str
    blocks: bool = False


@dataclass(frozen=True)
class Readiness:
    """What a refresh would find.

    Attributes:
        source: Name of the source.
        input: Folder of its files, or that it is a database.
        as_of_date: Day that would be refreshed; None where the orders cannot be read.
        findings: In the order of the parts.
        verdicts: Per model, by the windows in force.
        windows: Those windows, by the name of their setting.
        rhythm: How customers buy; None where the orders cannot be read.
        proposal: Windows that fit the rhythm; None where there are too few pauses to tell.
        proposed_verdicts: Per model, by the windows proposed.
    """

    source: str
    input: str
    as_of_date: date | None
    findings: tuple[Finding, ...]
    verdicts: tuple[Verdict, ...] = ()
    windows: Mapping[str, int] = field(default_factory=dict)
    rhythm: Rhythm | None = None
    proposal: Proposal | None = None
    proposed_verdicts: tuple[Verdict, ...] = ()

    @property
    def problems(self) -> list[Finding]:
        """What a refresh would stop at."""
        return [finding for finding in self.findings if finding.blocks]

    @property
    def can_run(self) -> bool:
        """Whether nothing would stop a refresh."""
        return not self.problems

    def text(self) -> str:
        """The report."""
        return "\n".join(_lines(self))


@dataclass
class _Check:
    """One check under way: the scratch warehouse, and what has been found so far."""

    connection: duckdb.DuckDBPyConnection
    source: Source
    settings: Settings
    variables: Mapping[str, Any]
    now: datetime
    landed: Mapping[str, list[str]]  # tables that are there, with the columns of their files
    undeclared: Mapping[str, list[str]]
    findings: list[Finding] = field(default_factory=list)

    def say(self, part: Part, table: str, text: str, blocks: bool = False) -> None:
        """Adds a finding."""
        self.findings.append(Finding(part, table, text, blocks))

    def row(self, query: str, parameters: Mapping[str, Any] | None = None) -> tuple[Any, ...]:
        """The one row of a query."""
        (row,) = self.connection.execute(query, dict(parameters or {})).fetchall()
        return tuple(row)


def check_data(settings: Settings, source: Source, now: datetime | None = None) -> Readiness:
    """Looks at the files of a source as a refresh would.

    Args:
        settings: With the folder, the day, the windows and the limits.
        source: What should be there.
        now: Time of the check (aware); the clock's by default.

    Raises:
        LandingError: INPUT is not a folder, or its `format.yml` cannot be used.
        SettingsError: There is no INPUT, or windows contradict each other.
        DatabaseError: INPUT names a database, and it cannot be read.
    """
    now = now or datetime.now(UTC)
    settings.temp_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="check-data-", dir=settings.temp_dir) as scratch:
        if settings.database is None:
            input_dir = source.input_dir(settings.input)
            return _looked_at(settings, source, input_dir, str(input_dir), now)
        # Not into the inbox: a refresh may be reading there.
        aside = settings.model_copy(update={"data": Path(scratch)})
        extract(aside, source)
        return _looked_at(settings, source, source.input_dir(aside.input), "the database that INPUT names", now)


def _looked_at(settings: Settings, source: Source, input_dir: Path, called: str, now: datetime) -> Readiness:
    if not input_dir.is_dir():
        raise LandingError(f"INPUT {input_dir} is not a folder. Give the folder that holds the source's files")
    variables = thresholds(settings)
    with input_views(source, input_dir, settings.duckdb_config(), now) as views:
        views.connection.execute(CONTROL_TABLES)  # gate 1 looks for earlier loads: there are none
        entries = {name: found for name, found in views.ledger.items() if found}
        landed = {name: _columns(found) for name, found in entries.items()}
        there = replace(source, tables=tuple(table for table in source.tables if table.name in landed))
        findings = [finding for table in source.tables for finding in _tables(table, views, input_dir)]
        undeclared = {table.name: undeclared_columns(table, entries[table.name]) for table in there.tables}
        check = _Check(views.connection, there, settings, variables, now, landed, undeclared, findings)
        return _checked(check, source, called)


def _tables(table: RawTable, views: InputViews, input_dir: Path) -> Iterator[Finding]:
    """Whether a table is there and can be read."""
    problem, entries = views.problems.get(table.name), views.ledger[table.name]
    if table.is_required and not any(input_dir.glob(f"{table.name}.*")) and not (input_dir / table.name).exists():
        forms = f"{table.name}.csv, {table.name}.parquet or a folder {table.name}/ of them"
        text = f"missing; a refresh needs it, as {forms if table.takes_text else f'{table.name}.parquet'}"
        yield Finding("tables", table.name, text, True)
        return
    if problem is not None:
        yield Finding("tables", table.name, str(problem).removeprefix(f"{table.name}: "), True)
        return
    if not entries:
        enables = "" if table.enables is None else f"; would enable {table.enables}"
        yield Finding("tables", table.name, f"missing, optional{enables}")
        return
    of = f" in {len(entries)} files" if len(entries) > 1 else ""
    yield Finding("tables", table.name, f"{sum(entry.rows for entry in entries):,} rows{of}")


def _columns(entries: Sequence[LedgerEntry]) -> list[str]:
    """Columns of a table's files, as they would be declared."""
    return list(dict.fromkeys(name.strip().lower() for entry in entries for name in entry.columns))


def _checked(check: _Check, source: Source, called: str) -> Readiness:
    as_of_date = _as_of_date(check)
    for table in check.source.tables:
        _columns_and_types(check, table, as_of_date)
        _references(check, table)
    order = {part: number for number, part in enumerate(PARTS)}
    told = Readiness(source.name, called, as_of_date, ())
    if as_of_date is not None and source.orders.customer in check.landed.get(source.orders.name, []):
        told = _models(check, source, told, as_of_date)
    findings = tuple(sorted(check.findings, key=lambda finding: order[finding.part]))
    return replace(told, findings=findings, windows=windows_in_force(check.settings, dict(check.variables)))


# Columns, types and keys ---------------------------------------------------------------------------


def _columns_and_types(check: _Check, table: RawTable, as_of_date: date | None) -> None:
    there = check.landed[table.name]
    declared = {column.name: column for column in table.columns}
    for column in table.columns:
        if column.name in there:
            continue
        if column.is_required:
            check.say("columns", table.name, f"{column.name} is missing; a refresh needs it", True)
        elif column.enables is not None:
            check.say("columns", table.name, f"without {column.name}; would enable {column.enables}")
    extra = check.undeclared[table.name]
    if extra:
        kept = "kept in raw and not used" if check.source.keeps_undeclared else "not declared; take them out"
        check.say("columns", table.name, f"{', '.join(extra)}: {kept}", not check.source.keeps_undeclared)

    profile = profile_raw_table(check.connection, check.source, table, check.settings, as_of_date or check.now.date())
    for name, found in _profiled(profile).items():
        if name not in declared or name not in there:
            continue
        if not found["type_fits"]:
            text = f"{name} is {found['found_type']}, expected is {declared[name].data_type}; convert it"
            check.say("types", table.name, text, True)
        nulls, allowed = found["null_share"], found["max_null_share"]
        if nulls > allowed:
            filled = "is never filled" if nulls == 1 else f"is NULL in {nulls:.2%} of the rows"
            part: Part = "keys" if name in table.key else "columns"
            check.say(part, table.name, f"{name} {filled}, allowed are {allowed:.2%}; fill it", True)
        elif nulls > 0 and _must_be_filled(declared[name]):
            check.say("columns", table.name, f"{name} is NULL in {nulls:.2%} of the rows, which go to quarantine")
        if found["not_finite"]:
            text = f"{name} holds NaN or infinity in {found['not_finite']:,} rows; mend it"
            check.say("types", table.name, text, True)
    _unreadable(check, table, profile)
    _keys(check, table, profile)
    _currencies(check, table)


def _profiled(profile: LandingProfile) -> dict[str, dict[str, Any]]:
    """The figures of each column, by name."""
    records = profile.columns.to_dict("records")
    return {str(record["column_name"]): {str(name): value for name, value in record.items()} for record in records}


def _must_be_filled(column: RawColumn) -> bool:
    """Whether a row without a value goes to quarantine: the source declares no share of NULLs as usual."""
    return column.is_required and column.max_null_share is None


def _type_of(table: RawTable, name: str) -> str:
    return next(column.data_type for column in table.columns if column.name == name)


def _unreadable(check: _Check, table: RawTable, profile: LandingProfile) -> None:
    """Values that do not read as their type, and how many rows cannot be used for it or for a reference to nothing."""
    fits = {name for name, found in _profiled(profile).items() if found["type_fits"] and found["is_present"]}
    read = [name for name in check.landed[table.name] if name in fits and any(c.name == name for c in table.columns)]
    bad = {
        name: f"({quote_identifier(name)} is not null and try_cast({quote_identifier(name)} as"
        f" {_type_of(table, name)}) is null)"
        for name in read
    }
    filled = [column.name for column in table.columns if column.name in read and _must_be_filled(column)]
    conditions = [*bad.values(), *(f"({quote_identifier(name)} is null)" for name in filled)]
    for column, parent in _referred(check, table):
        if parent.name in QUARANTINED_WITHOUT:
            key = quote_identifier(parent.key[0])
            conditions.append(
                f"({quote_identifier(column)}::varchar not in"
                f" (select {key}::varchar from {parent.view} where {key} is not null))"
            )
    where = "struct_pack(file := _source_file, line := _row_number)"
    counts = ", ".join(f"count_if({test}), min({where}) filter (where {test})" for test in bad.values())
    unusable, *found = check.row(
        f"select count_if({' or '.join(conditions or ['false'])}){', ' if counts else ''}{counts} from {table.view}"
    )
    for name, count, first in zip(bad, found[::2], found[1::2], strict=True):
        if count:
            check.say(
                "types",
                table.name,
                f"{name}: {count:,} values are no {_type_of(table, name)}, first in {first['file']}, line"
                f" {first['line']}; write them so, or say in format.yml how they are written",
            )
    rejects, first = check.row(
        f"select count(*), min({where}) from raw.rejects where table_name = $table",
        {"table": table.name},
    )
    if rejects:
        text = f"{rejects:,} lines cannot be split into fields, first in {first['file']}, line {first['line']}"
        check.say("types", table.name, text)
        unusable += rejects
    share, limit = unusable / (profile.row_count + rejects), check.variables["max_quarantine_share"]
    if unusable:
        text = f"{unusable:,} rows ({share:.2%}) cannot be used and go to quarantine; {limit:.2%} block a refresh"
        check.say("keys", table.name, text, share > limit)


def _keys(check: _Check, table: RawTable, profile: LandingProfile) -> None:
    columns = [name for name in check.landed[table.name] if any(column.name == name for column in table.columns)]
    row_hash = "hash(" + ", ".join(map(quote_identifier, columns)) + ")"
    (copies,) = check.row(f"select count(*) - count(distinct {row_hash}) from {table.view}")
    if copies and columns:
        share = copies / profile.row_count
        check.say("keys", table.name, f"{copies:,} rows ({share:.2%}) are copies of others; each is taken once")
    conflicting = int(profile.table["conflicting_keys"].iloc[0])
    if conflicting:
        key = ", ".join(table.key)
        text = f"{conflicting:,} values of {key} stand for rows that differ; deliver one row for each"
        check.say("keys", table.name, text, True)


def _referred(check: _Check, table: RawTable) -> Iterator[tuple[str, RawTable]]:
    """Columns that bear the name of another table's key, with that table."""
    for parent in check.source.tables:
        if len(parent.key) != 1 or parent.key == table.key:
            continue
        (key,) = parent.key
        if key in check.landed[parent.name] and key in check.landed[table.name]:
            yield key, parent


def _references(check: _Check, table: RawTable) -> None:
    for column, parent in _referred(check, table):
        name, key = quote_identifier(column), quote_identifier(parent.key[0])
        rows, orphans = check.row(
            f"select count(*), count_if({name}::varchar not in"
            f" (select {key}::varchar from {parent.view} where {key} is not null)) from {table.view}"
            f" where {name} is not null"
        )
        if not orphans:
            continue
        share, is_sold = orphans / rows, any(column.name == "quantity" for column in table.columns)
        text = f"{orphans:,} rows ({share:.2%}) name a {column} that is not in {parent.name}"
        limit = check.variables["max_unknown_product_share"]
        if parent.name == "products" and is_sold:
            blocks = share > limit
            check.say("keys", table.name, f"{text}; they count as unknown, {limit:.2%} block a refresh", blocks)
        elif parent.name in QUARANTINED_WITHOUT:
            check.say("keys", table.name, f"{text}; they go to quarantine")
        else:
            check.say("keys", table.name, f"{text}; they are kept, and nothing else is known of it")


def _currencies(check: _Check, table: RawTable) -> None:
    if "currency" not in check.landed[table.name] or not any(column.name == "currency" for column in table.columns):
        return
    found = check.connection.execute(
        f"select upper(currency::varchar), count(*) from {table.view} where currency is not null"
        " group by all order by count(*) desc, 1 limit 6"
    ).fetchall()
    if len(found) > 1:
        told = ", ".join(f"{name} {count:,}" for name, count in found)
        check.say("keys", table.name, f"several currencies ({told}); deliver the amounts in one", True)


# Orders and models ---------------------------------------------------------------------------------


def _as_of_date(check: _Check) -> date | None:
    """The day that a refresh would take, and how far the orders reach; None where they cannot be read."""
    source, now = check.source, check.now
    table = next((table for table in source.tables if table.event_at), None)
    if table is None or table.event_at is None or table.event_at not in check.landed[table.name]:
        return None
    at = f"try_cast({quote_identifier(table.event_at)} as timestamp)"
    local = f"({at} at time zone 'UTC' at time zone '{source.time_zone}')::date"
    orders, first, newest, coming = check.row(
        f"select count(*) filter (where {at} <= $now), min({local}) filter (where {at} <= $now),"
        f" max({local}) filter (where {at} <= $now), count(*) filter (where {at} > $now) from {table.view}",
        {"now": now.astimezone(UTC).replace(tzinfo=None)},
    )
    if coming:
        check.say("orders", table.name, f"{coming:,} rows are later than now; mend their time, or the time zone")
    if not orders:
        check.say("orders", table.name, f"no {table.event_at} up to now that can be read; deliver the file again", True)
        return None
    today = business_day(source.time_zone, now)
    as_of_date: date = check.settings.as_of or min(newest + timedelta(days=1), today)
    if as_of_date <= first or as_of_date > today:
        text = f"AS_OF {as_of_date} has no order before it, or has not begun; orders are from {first} to {newest}"
        check.say("orders", table.name, text, True)
        return None
    weeks = max((newest - first).days / 7, 1)
    span = f"{orders:,} rows from {first} to {newest}, {orders / weeks:,.0f} a week; a refresh would take {as_of_date}"
    check.say("orders", table.name, span)
    if (today - newest).days > check.settings.max_days_without_orders:
        text = f"the newest is {(today - newest).days:,} days old; from a live system it should be of yesterday"
        check.say("orders", table.name, text)
    (pause,) = check.row(
        f"with days as (select distinct {local} as day from {table.view}"
        f" where {local} < $as_of order by day desc limit 10)"
        " select max(coalesce(next_day, $as_of::date) - day)"
        " from (select day, lead(day) over (order by day) as next_day from days)",
        {"as_of": as_of_date},
    )
    limit = check.settings.max_days_without_orders
    if pause > limit:
        text = (
            f"{pause} days without an order among the newest days, allowed are {limit}; deliver what is missing, or"
            f" where that is usual set CUSTOMER360_MAX_DAYS_WITHOUT_ORDERS={pause + 1}"
        )
        check.say("orders", table.name, text, True)
    return as_of_date


def _models(check: _Check, source: Source, told: Readiness, as_of_date: date) -> Readiness:
    table = check.source.orders
    at = f"try_cast({quote_identifier(table.event_at or '')} as timestamp)"
    local = f"({at} at time zone 'UTC' at time zone '{check.source.time_zone}')::date"
    customer = quote_identifier(table.customer or "")
    query = f"select {customer} as customer_id, {local} as order_date from {table.view}"
    make_order_days(check.connection, query, as_of_date)
    rhythm = read_rhythm(check.connection)
    if not rhythm.customers:
        return told
    proposal, campaigns, products = propose(rhythm), _campaigns(check, source, as_of_date), _products_sold(check)

    def judged(variables: Mapping[str, Any]) -> tuple[Verdict, ...]:
        orders = OrderDays(check.connection, as_of_date, variables)
        return tuple(verdicts(orders, campaigns, products, variables, check.settings))

    proposed = () if proposal is None else judged({**check.variables, **proposal.variables()})
    return replace(told, verdicts=judged(check.variables), rhythm=rhythm, proposal=proposal, proposed_verdicts=proposed)


def _products_sold(check: _Check) -> int | None:
    """Products on any line of an order; None where the source names lines and products otherwise than the contract."""
    for table in check.source.tables:
        if {"order_id", "product_id"} <= {column.name for column in table.columns}:
            return int(check.row(f"select count(distinct product_id) from {table.view}")[0])
    return None


def _campaigns(check: _Check, source: Source, as_of_date: date) -> list[Campaign] | Verdict:
    """Campaigns that have begun, or what is to be said where none can be read."""
    declared = {table.name: {column.name for column in table.columns} for table in source.tables}
    if set(CAMPAIGN_COLUMNS) & set(source.lacks):
        return Verdict(ResponseModel.name, False, ("skipped: no campaign data",))
    if not all(columns <= declared.get(name, set()) for name, columns in CAMPAIGN_COLUMNS.items()):
        return Verdict(ResponseModel.name, None, ("the source does not declare campaigns as the contract does",))
    if not all(columns <= set(check.landed.get(name, ())) for name, columns in CAMPAIGN_COLUMNS.items()):
        return Verdict(ResponseModel.name, False, ("skipped: no campaign data",))
    has_assignment = "assignment" in check.landed["campaign_members"]
    treated = "coalesce(lower(assignment::varchar), 'treatment') = 'treatment'" if has_assignment else "true"
    rows = check.connection.execute(
        "select try_cast(start_date as date), try_cast(end_date as date), count(*), count(responses.customer_id)"
        f" from (select distinct campaign_id::varchar as campaign_id, customer_id::varchar as customer_id"
        f" from raw.campaign_members where {treated}) as members"
        " inner join (select distinct campaign_id::varchar as campaign_id, start_date, end_date from raw.campaigns)"
        " as campaigns using (campaign_id)"
        " left join (select distinct campaign_id::varchar as campaign_id, customer_id::varchar as customer_id"
        " from raw.campaign_responses) as responses using (campaign_id, customer_id)"
        " where try_cast(start_date as date) < $as_of and try_cast(end_date as date) is not null"
        " group by campaign_id, start_date, end_date order by all",
        {"as_of": as_of_date},
    ).fetchall()
    return [Campaign(*row) for row in rows]


# The report ----------------------------------------------------------------------------------------


def _lines(told: Readiness) -> Iterator[str]:
    day = "" if told.as_of_date is None else f" for a refresh as of {told.as_of_date}"
    yield f"{told.source}: {told.input}{day}"
    for part in PARTS:
        found = [finding for finding in told.findings if finding.part == part]
        if found:
            yield f"\n{part}"
            yield from (f"  {'!' if one.blocks else ' '} {one.table:<22} {one.text}" for one in found)
    if told.verdicts:
        yield "\nmodels, with the windows in force"
        yield from _verdict_lines(told.verdicts)
    if told.rhythm is not None:
        yield from _rhythm_lines(told, told.rhythm)
    count = len(told.problems)
    problems = f"no: {count} problem{'s' * (count != 1)}, marked with !"
    yield f"\ncan run: {'yes' if told.can_run else problems}"


def _verdict_lines(found: tuple[Verdict, ...]) -> Iterator[str]:
    words = {True: "can be trained", False: "cannot be trained", None: "not known before a run"}
    for one in found:
        yield f"    {one.model:<22} {words[one.enough]}: {'; '.join(one.reasons)}"


def _rhythm_lines(told: Readiness, rhythm: Rhythm) -> Iterator[str]:
    yield "\nhow customers buy, each counting once"
    yield f"    {rhythm.customers:,} customers, {rhythm.one_time_share:.0%} of them ordered on one day only"
    if rhythm.one_time_share > 0.5:
        yield "    most order once: churn and value tell of the few who come back; winning a second order matters more"
    if told.proposal is None:
        yield f"    {rhythm.gaps:,} pauses between orders are too few to propose windows from; the project's own hold"
        return
    days = {share: rhythm.quantile(share) for share in (0.5, 0.8, 0.9, 0.95)}
    yield "    a pause ends within " + ", ".join(f"{at} days ({share:.0%})" for share, at in days.items())
    yield "\nwindows that fit it; to use them:"
    width = max(map(len, told.proposal.environment()))
    for (name, wanted), line in zip(told.proposal.windows.items(), told.proposal.environment(), strict=True):
        now = f"now {told.windows[name]}" if told.windows.get(name) != wanted else "as now"
        yield f"    {line:<{width}}  # {now}; {told.proposal.reasons[name]}"
    changed = tuple(
        proposed for proposed, now in zip(told.proposed_verdicts, told.verdicts, strict=True) if proposed != now
    )
    if changed:
        yield "  with them"
        yield from _verdict_lines(changed)
