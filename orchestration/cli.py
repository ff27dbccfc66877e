"""The commands behind `make`: thin, and every error ends in one sentence that says what to do."""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path

import duckdb

from orchestration.dbt_project import DbtProjectError, prepare_manifest
from orchestration.landing import LandingError, resolve_as_of
from orchestration.portrait import UnknownCustomerError, portrait
from orchestration.resources.publication import PublicationError, PublicationStore
from orchestration.settings import MODELS, PROJECT_ROOT, Settings, SettingsError, load_settings
from orchestration.sources import Source, load_source

EXPECTED_ERRORS = (SettingsError, LandingError, DbtProjectError, PublicationError, UnknownCustomerError)


def prepare(settings: Settings, source: Source) -> None:
    """Makes what a refresh and the UI need: folders, Dagster's home, dbt's manifest."""
    settings.make_writable()
    shutil.copyfile(Path(__file__).with_name("dagster.yaml"), settings.dagster_home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    os.environ.update(settings.dbt_environment())
    prepare_manifest(settings, source)


def refresh(settings: Settings, source: Source) -> int:
    """Runs the daily job for one day, in this process; its run stands in the UI like any other."""
    settings.make_writable()
    as_of_date = resolve_as_of(source, source.input_dir(settings.input), settings.as_of)
    prepare(settings, source)
    print(f"refreshing {source.name} as of {as_of_date}", flush=True)

    from orchestration.resources.warehouse import WarehouseError
    from orchestration.run import run_daily_refresh

    try:
        outcome = run_daily_refresh(as_of_date, settings)
    except WarehouseError as error:
        print(error, file=sys.stderr)
        return 2
    if outcome.failures:
        print("\nThe refresh failed; what is published stays as it was.", file=sys.stderr)
        for failure in outcome.failures:
            print(failure, file=sys.stderr)
        return 1
    show_publication(settings, source, as_of_date)
    return 0


def backfill(settings: Settings, source: Source, first: date, last: date, every: int) -> int:
    """Refreshes past days, oldest first, then the newest day again, so that it follows them."""
    if every < 1 or first > last:
        raise SettingsError(
            f"from {first} to {last} every {every} days there is no day; give FROM= not after TO=, EVERY= of 1 or more"
        )
    days = [first + timedelta(days=step) for step in range(0, (last - first).days + 1, every)]
    published = _store(settings).current()
    if published is not None and published.as_of_date > days[-1]:
        days.append(published.as_of_date)
    for day in days:
        code = refresh(settings.model_copy(update={"as_of": day}), source)
        if code != 0:
            print(f"the backfill stopped at {day}; the days before it are in the history", file=sys.stderr)
            return code
    return 0


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
    from orchestration.models import tunable

    found = tunable(settings).get(model)
    if found is None:
        raise SettingsError(f"unknown model {model!r}; known are {', '.join(tunable(settings))}. Name one with MODEL=")
    as_of_date = resolve_as_of(source, source.input_dir(settings.input), settings.as_of)
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


def dev(settings: Settings, source: Source) -> int:
    """The Dagster UI with schedule and daemon, on loopback."""
    prepare(settings, source)
    dagster = str(Path(sys.executable).with_name("dagster"))
    return subprocess.run(
        [dagster, "dev", "-w", str(PROJECT_ROOT / "workspace.yaml"), "-h", "127.0.0.1"], cwd=PROJECT_ROOT, check=False
    ).returncode


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day; give it as YYYY-MM-DD") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; its exit code says whether it did what it promises."""
    parser = argparse.ArgumentParser(prog="customer360", description="Customer 360: the daily refresh and its marts.")
    commands = parser.add_subparsers(dest="command", required=True)
    plain = {"refresh": refresh, "manifest": manifest, "dev": dev, "models": show_models}
    for name, function in plain.items():
        commands.add_parser(name, help=(function.__doc__ or "").splitlines()[0])
    sql_parser = commands.add_parser("sql", help=(sql.__doc__ or "").splitlines()[0])
    sql_parser.add_argument("query", nargs="?")
    rollback_parser = commands.add_parser("rollback", help=(rollback.__doc__ or "").splitlines()[0])
    rollback_parser.add_argument("to", nargs="?")
    tune_parser = commands.add_parser("tune", help=(tune.__doc__ or "").splitlines()[0])
    tune_parser.add_argument("model")
    tune_parser.add_argument("trials", nargs="?", type=int, default=30)
    backfill_parser = commands.add_parser("backfill", help=(backfill.__doc__ or "").splitlines()[0])
    for name in ("first", "last"):
        backfill_parser.add_argument(name, type=_day)
    backfill_parser.add_argument("every", nargs="?", type=int, default=28)
    profile_parser = commands.add_parser("profile", help=(profile.__doc__ or "").splitlines()[0])
    profile_parser.add_argument("customer_id")
    options = parser.parse_args(arguments)

    run: dict[str, Callable[[Settings, Source], int]] = {
        **plain,
        "tune": lambda settings, source: tune(settings, source, options.model, options.trials),
        "backfill": lambda settings, source: backfill(settings, source, options.first, options.last, options.every),
        "profile": lambda settings, source: profile(settings, source, options.customer_id),
        "sql": lambda settings, source: sql(settings, source, options.query or None),
        "rollback": lambda settings, source: rollback(settings, source, options.to or None),
    }
    try:
        settings = load_settings()
        return run[options.command](settings, load_source(settings.source))
    except EXPECTED_ERRORS as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
