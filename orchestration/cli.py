"""The commands behind `make`: thin, and every error ends in one sentence that says what to do."""

import argparse
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NoReturn

import duckdb

from orchestration.alerts import Alert, send, without_trace
from orchestration.dbt_project import DbtProjectError, prepare_manifest
from orchestration.landing import LandingError
from orchestration.portrait import UnknownCustomerError, portrait
from orchestration.resources.publication import PublicationError, PublicationStore
from orchestration.settings import MODELS, PROJECT_ROOT, Settings, SettingsError, load_settings
from orchestration.sources import Source, source_of

CODE_PORT, UI_PORT = "4000", "3000"
SERVICES = ("code", "daemon", "webserver")
# The address has a password in it, so the file names the variable alone.
POSTGRES_STORAGE = """
storage:
  postgres:
    postgres_url:
      env: CUSTOMER360_DAGSTER_STORAGE_URL
"""
# Models that the newest run could not train, as the source has no such data.
SKIPPED = """
    select distinct split_part(table_name, '.', 2) as model, message
    from marts.data_quality_results
    where message like 'skipped: no %' and run_id = (
        select max_by(run_id, checked_at)
        from marts.data_quality_results
        where checked_at <= (select max(published_at) from marts.publication)
    )
    order by all
"""
EXPECTED_ERRORS = (SettingsError, LandingError, DbtProjectError, PublicationError, UnknownCustomerError)


def prepare(settings: Settings, source: Source) -> None:
    """Makes what a refresh and the UI need: folders, Dagster's home, dbt's manifest."""
    prepare_instance(settings)
    os.environ.update(settings.dbt_environment())
    prepare_manifest(settings, source)


def prepare_instance(settings: Settings) -> None:
    """Makes the folders, and Dagster's home."""
    settings.make_writable()
    configuration = Path(__file__).with_name("dagster.yaml").read_text(encoding="utf-8")
    if settings.dagster_storage_url is not None:
        configuration += POSTGRES_STORAGE
    (settings.dagster_home / "dagster.yaml").write_text(configuration, encoding="utf-8")
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)


def refresh(settings: Settings, source: Source) -> int:
    """Runs the daily job for one day, in this process; its run stands in the UI like any other."""
    from orchestration.extraction import order_day

    try:
        settings.make_writable()
        as_of_date = order_day(settings, source, settings.as_of)
        first = settings.first_as_of or source.first_as_of
        if as_of_date < first:
            raise SettingsError(
                f"{as_of_date} cannot be refreshed, as days begin with {first}. Name an earlier one in"
                " CUSTOMER360_FIRST_AS_OF"
            )
        prepare(settings, source)
    except EXPECTED_ERRORS as error:
        _tell(settings, source, f"The refresh of {source.name} could not start", [str(error)])
        raise
    print(f"refreshing {source.name} as of {as_of_date}", flush=True)

    from sqlalchemy.exc import DBAPIError

    from orchestration.resources.warehouse import WarehouseError
    from orchestration.run import run_daily_refresh

    subject = f"The refresh of {source.name} as of {as_of_date} failed"
    try:
        outcome = run_daily_refresh(as_of_date, settings)
    except WarehouseError as error:
        _tell(settings, source, subject, [str(error)])
        print(error, file=sys.stderr)
        return 2
    except (DBAPIError, OSError) as error:  # what Dagster itself could not write stops it wherever it stands
        reason = (
            f"the records of runs in {settings.dagster_home} cannot be written or read"
            f" ({str(error).splitlines()[0]}). Free disk space or mend what the message names, then refresh again; no"
            " clean-up is needed"
        )
        _tell(settings, source, subject, [reason])
        print(f"\n{subject}; what is published stays as it was.\n{reason}", file=sys.stderr)
        return 1
    if outcome.failures:
        _tell(settings, source, subject, outcome.failures, outcome.run_id)
        print("\nThe refresh failed; what is published stays as it was.", file=sys.stderr)
        for failure in outcome.failures:
            print(failure, file=sys.stderr)
        return 1
    show_publication(settings, source, as_of_date)
    return 0


def check_data(settings: Settings, source: Source) -> int:
    """What a refresh would find, before it runs, and windows that fit the data; exit code 1 where it cannot run."""
    from orchestration.extraction import extract, in_words
    from orchestration.readiness import check_data as checked

    for extracted in extract(settings, source):
        print(f"read from the database: {in_words(extracted)}", flush=True)
    told = checked(settings, source)
    print(told.text())
    return 0 if told.can_run else 1


def _tell(settings: Settings, source: Source, subject: str, reasons: Sequence[str], run_id: str | None = None) -> None:
    """Sends an alert where one is set up; what could not be delivered is printed."""
    if settings.alert_command is None and settings.alert_webhook is None:
        return
    from orchestration.freshness import readers_have

    alert = Alert(
        "failed",
        f"{subject}; what is published stays as it was.",
        tuple(map(without_trace, reasons)),
        readers_have(settings, source),
        run_id,
    )
    for problem in send(alert, settings):
        print(problem, file=sys.stderr)


def backfill(settings: Settings, source: Source, first: date, last: date, every: int) -> int:
    """Refreshes past days, oldest first, then the newest day again, so that it follows them."""
    from orchestration.replay import days_between

    days = days_between(first, last, every)
    published = _store(settings).current()
    if published is not None and published.as_of_date > days[-1]:
        days.append(published.as_of_date)
    for day in days:
        code = refresh(settings.model_copy(update={"as_of": day}), source)
        if code != 0:
            print(f"the backfill stopped at {day}; the days before it are in the history", file=sys.stderr)
            return code
    return 0


def replay(settings: Settings, source: Source, first: date, last: date, every: int) -> int:
    """A source's past as if it were happening: each day lands what had come by then, and becomes current."""
    from orchestration.replay import days_between
    from orchestration.replay import replay as replayed

    days = days_between(first, last, every)
    prepare(settings, source)
    done = list(replayed(settings, source, days, lambda line: print(line, flush=True)))
    failed = [day for day in done if day.failures]
    print(f"{len(done)} days, {len(done) - len(failed)} published; look at them: make status")
    return 1 if failed else 0


def status(settings: Settings, source: Source) -> int:
    """What readers have and how old it is, the last runs, what failed, the models; exit code 1 where it is late."""
    prepare_instance(settings)
    from dagster import DagsterInstance

    from orchestration.status import status as told

    with DagsterInstance.get() as instance:
        text, is_well = told(settings, source, instance, datetime.now(UTC))
    print(text)
    return 0 if is_well else 1


def prune(settings: Settings, source: Source) -> int:
    """Removes old raw files, scores, runs, results and model versions, as the settings say."""
    prepare_instance(settings)
    from dagster import DagsterInstance

    from orchestration.housekeeping import prune as pruned
    from orchestration.resources.registry import RegistryError
    from orchestration.resources.warehouse import WarehouseError

    try:
        with DagsterInstance.get() as instance:
            print("removed:", *pruned(settings, instance), sep="\n  ")
    except (WarehouseError, RegistryError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def verify(settings: Settings, source: Source) -> int:
    """Looks at every file that is kept: published versions, raw files, models, scores, the warehouse."""
    from orchestration.housekeeping import verify as verified

    problems = verified(settings, lambda line: print(line, flush=True))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def profile(settings: Settings, source: Source, customer_id: str) -> int:
    """One customer's whole portrait, in words."""
    with duckdb.connect(str(_store(settings).current_file()), read_only=True) as connection:
        print(portrait(connection, customer_id))
    return 0


def _store(settings: Settings) -> PublicationStore:
    return PublicationStore(settings.published_dir, settings.keep_versions)


def show_publication(settings: Settings, source: Source, as_of_date: date) -> None:
    """Prints what readers now have."""
    publication = _store(settings).current()
    if publication is None:
        return
    print(f"\npublished version {publication.version} of {source.name}, as of {publication.as_of_date}:")
    for table in publication.tables:
        print(f"  {table.table_name:<22} {table.row_count:>12,} rows")
    with duckdb.connect(str(_store(settings).current_file()), read_only=True) as connection:
        for model, reason in connection.execute(SKIPPED).fetchall():
            print(f"{model}: {reason}")
    if as_of_date < publication.as_of_date:
        print(f"{as_of_date} was rebuilt in the history; the current tables show the newest day.")
    print('\nlook at it:  make sql Q="from customer_360 limit 5"')


def sql(settings: Settings, source: Source, query: str | None) -> int:
    """A read-only SQL shell on the current version; with a query, its result alone."""
    file = _store(settings).current_file()
    # Safe mode locks files, ATTACH, INSTALL and SET. The package's own start script cannot be used with it: it sets an
    # option once the options are locked.
    package = importlib.util.find_spec("duckdb_cli")
    assert package is not None and package.origin is not None
    shell = str(Path(package.origin).with_name("duckdb"))
    options = ["-no-init", "-readonly", "-safe", "-cmd", "use marts", *(["-c", query] if query else [])]
    return subprocess.run([shell, *options, str(file)], check=False).returncode


def rollback(settings: Settings, source: Source, to: str | None) -> int:
    """Makes an earlier version current again."""
    publication = _store(settings).rollback(to)
    print(f"current is now version {publication.version}, as of {publication.as_of_date}")
    return 0


def manifest(settings: Settings, source: Source) -> int:
    """Makes what the UI and the tests need before they start."""
    prepare(settings, source)
    return 0


def show_models(settings: Settings, source: Source) -> int:
    """The models: champion, when it was trained, how well it did, and who scores on the newest day."""
    from orchestration.resources.registry import registry_of

    registry = registry_of(settings)
    rows = registry.overview(list(MODELS))
    header = ("model", "scored by", "version", "trained for", "trained at (UTC)", "measured forward in time")
    table = [header, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"\nregistry: {registry.tracking_uri}; model cards: {settings.models_dir}/<model>/<day>/card.md")
    return 0


def tune(settings: Settings, source: Source, model: str, trials: int) -> int:
    """Searches the parameters of a model on what the warehouse holds, and writes them where they can be committed."""
    from ml.tuning import commit
    from ml.tuning import tune as search
    from orchestration.extraction import order_day
    from orchestration.models import tunable

    found = tunable(settings).get(model)
    if found is None:
        raise SettingsError(f"unknown model {model!r}; known are {', '.join(tunable(settings))}. Name one with MODEL=")
    as_of_date = order_day(settings, source, settings.as_of)
    if not settings.warehouse_path.exists():
        raise SettingsError(f"{settings.warehouse_path} does not exist. Run make refresh first")
    with duckdb.connect(
        str(settings.warehouse_path), read_only=True, config=dict(settings.duckdb_config())
    ) as connection:
        frame = found.examples(connection, as_of_date)
    print(f"searching {model}: {trials} sets of parameters on what was known on {as_of_date}", flush=True)
    result = search(found.specification(), frame, as_of_date.isoformat(), trials, settings.threads)
    commit(model, result)
    for name, value in result.evidence.items():
        print(f"  {name:<22} {value}")
    print(f"\nwritten to ml/parameters/{model}.json; look at git diff, refresh, and commit it if it does better")
    return 0


def lay_out(name: str) -> int:
    """Lays out the folder of a source of one's own, from a worked example."""
    from orchestration.source_layout import lay_out as laid_out

    made = laid_out(name)
    print("made:", *(path.relative_to(PROJECT_ROOT) for path in made), sep="\n  ")
    print(f"\nit runs on the example's files:  make refresh SOURCE={name} INPUT=tests/corner_shop")
    print(f"then say in {made[0].relative_to(PROJECT_ROOT)} what your export has, and go on file by file")
    return 0


def dev(settings: Settings, source: Source) -> int:
    """The Dagster UI with schedule and daemon, on loopback."""
    prepare(settings, source)
    _mend_ticks()
    os.chdir(PROJECT_ROOT)
    _turn_into("dagster", "dev", "-w", str(PROJECT_ROOT / "workspace.yaml"), "-h", "127.0.0.1")


def _mend_ticks() -> None:
    """Before the daemon starts: it would do nothing until a clock that was ahead has been caught up with."""
    from dagster import DagsterInstance

    from orchestration.schedules import forget_ticks_ahead

    with DagsterInstance.get() as instance:
        forget_ticks_ahead(instance, datetime.now(UTC))


def serve(settings: Settings, source: Source, part: str) -> int:
    """One of the services of a server: the code location, the daemon or the webserver. Ends when it is stopped."""
    if part == "code":
        prepare(settings, source)
    else:
        prepare_instance(settings)
    if part == "daemon":
        _mend_ticks()
    os.environ["CUSTOMER360_CODE_HOST"] = settings.code_host
    workspace = ["-w", str(PROJECT_ROOT / "orchestration" / "deploy" / "workspace.yaml")]
    code = ["code-server", "start", "-h", settings.host, "-p", CODE_PORT, "-m", "orchestration.definitions"]
    name, *arguments = {
        "code": ["dagster", *code, "--location-name", "customer360", "-d", str(PROJECT_ROOT)],
        "daemon": ["dagster-daemon", "run", *workspace],
        "webserver": ["dagster-webserver", "-h", settings.host, "-p", UI_PORT, *workspace],
    }[part]
    _turn_into(name, *arguments)


def _turn_into(name: str, *arguments: str) -> NoReturn:
    """Runs a program in place of this process, so that who stops this one stops it."""
    os.execv(Path(sys.executable).with_name(name), [name, *arguments])


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day; give it as YYYY-MM-DD") from None


def _span(text: str) -> int:
    from orchestration.replay import span_of_days

    try:
        return span_of_days(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; its exit code says whether it did what it promises."""
    parser = argparse.ArgumentParser(prog="customer360", description="Customer 360: the daily refresh and its marts.")
    commands = parser.add_subparsers(dest="command", required=True)
    plain = {"refresh": refresh, "manifest": manifest, "dev": dev, "models": show_models}
    plain |= {"check-data": check_data, "status": status, "prune": prune, "verify": verify}
    for name, function in plain.items():
        commands.add_parser(name, help=(function.__doc__ or "").splitlines()[0])
    sql_parser = commands.add_parser("sql", help=(sql.__doc__ or "").splitlines()[0])
    sql_parser.add_argument("query", nargs="?")
    rollback_parser = commands.add_parser("rollback", help=(rollback.__doc__ or "").splitlines()[0])
    rollback_parser.add_argument("to", nargs="?")
    tune_parser = commands.add_parser("tune", help=(tune.__doc__ or "").splitlines()[0])
    tune_parser.add_argument("model")
    tune_parser.add_argument("trials", nargs="?", type=int, default=30)
    for name, over_days, usual in (("backfill", backfill, 28), ("replay", replay, 7)):
        days_parser = commands.add_parser(name, help=(over_days.__doc__ or "").splitlines()[0])
        days_parser.add_argument("first", type=_day)
        days_parser.add_argument("last", type=_day)
        days_parser.add_argument("every", nargs="?", type=_span, default=usual)
    serve_parser = commands.add_parser("serve", help=(serve.__doc__ or "").splitlines()[0])
    serve_parser.add_argument("part", choices=SERVICES)
    source_parser = commands.add_parser("source", help=(lay_out.__doc__ or "").splitlines()[0])
    source_parser.add_argument("name")
    profile_parser = commands.add_parser("profile", help=(profile.__doc__ or "").splitlines()[0])
    profile_parser.add_argument("customer_id")
    options = parser.parse_args(arguments)

    run: dict[str, Callable[[Settings, Source], int]] = {
        **plain,
        "tune": lambda settings, source: tune(settings, source, options.model, options.trials),
        "backfill": lambda settings, source: backfill(settings, source, options.first, options.last, options.every),
        "replay": lambda settings, source: replay(settings, source, options.first, options.last, options.every),
        "serve": lambda settings, source: serve(settings, source, options.part),
        "profile": lambda settings, source: profile(settings, source, options.customer_id),
        "sql": lambda settings, source: sql(settings, source, options.query or None),
        "rollback": lambda settings, source: rollback(settings, source, options.to or None),
    }
    try:
        if options.command == "source":  # what the settings say of another source is no matter
            return lay_out(options.name)
        settings = load_settings()
        return run[options.command](settings, source_of(settings))
    except EXPECTED_ERRORS as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
