"""What a refresh costs as the company grows, and what the next day costs beside everything.

Run by `make bench` with small sizes, or as `python -m tests.benchmarks.growth 1 4 16`: multiples of the sample, made by
`tests.generated_company`. Each size is refreshed in a home of its own: first everything up to the last day but one,
then that day's rows in addition. With `--models` the first refresh trains all of them, and the second scores with them;
without, both leave them out. The sample's format has one file of all order lines, delivered anew each day; with
`--contract` the company exports its own tables, and a day more is a file more. The exponent is the slope of least
squares between the logarithms of order lines and of seconds; seconds of processors are shown too, as other work on the
machine disturbs them less. The costliest models of dbt are shown beside their floor, the time in which plain DuckDB
reads and sums up the hashes of all rows that they read; the costliest steps of the refresh tell what is not dbt's.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import Any

import duckdb
import numpy as np
from dagster import AssetMaterialization, DagsterInstance

from orchestration.checks.dbt_tests import relation_name
from orchestration.content_hash import table_content
from orchestration.settings import MODELS
from tests.benchmarks.models import show
from tests.benchmarks.refresh import Measured, huge_pages, measure
from tests.contract_export import QUERIES, export_contract
from tests.generated_company import write_company, write_transactions
from tests.pipeline import Home

SIZES = (1, 2)
# Of the machine's 24 GiB, the same at every size: with the setting's default of 2 GB four times the sample still fits.
MEMORY_LIMIT = "8GB"
# The sample ends with 2017; its last day is the increment.
LAST_DAY = date(2017, 12, 31)
# What a company's own export delivers as a file per day.
BY_DAY = ("orders", "order_lines")
COSTLIEST = 5


@dataclass(frozen=True)
class Refreshed:
    """What one refresh took: as a whole, each model of dbt by the clock, each step in seconds of processors."""

    measured: Measured
    models: dict[str, float]
    steps: dict[str, float]

    @property
    def cpu_seconds(self) -> float:
        """Of processors, as a whole."""
        return self.measured.cpu_seconds[-1][1]


@dataclass(frozen=True)
class Grown:
    """One size of the company: everything, then a day more."""

    lines: int
    full: Refreshed
    day: Refreshed
    floors: dict[str, float]


def refresh(home: Home, with_models: bool) -> Refreshed:
    """Refreshes a home as a user would."""
    more = {"CUSTOMER360_MODELS": ",".join(MODELS)} if with_models else {}
    command = [sys.executable, "-m", "orchestration", "refresh"]
    measured = measure(command, home.environment(CUSTOMER360_MEMORY_LIMIT=MEMORY_LIMIT, **more))
    return Refreshed(measured, model_seconds(home), step_seconds(home, measured))


def model_seconds(home: Home) -> dict[str, float]:
    """Seconds by the clock that dbt took for each table of the newest run; several may be built at one time."""
    seconds: dict[str, float] = {}
    with DagsterInstance.from_config(str(home.settings.dagster_home)) as instance:
        (run,) = instance.get_runs(limit=1)
        for entry in instance.all_logs(run.run_id):
            event = entry.dagster_event
            if event is None or not event.is_step_materialization:
                continue
            materialization = event.step_materialization_data.materialization
            assert isinstance(materialization, AssetMaterialization)
            duration = materialization.metadata.get("Execution Duration")
            if duration is not None:
                seconds[".".join(materialization.asset_key.path)] = float(str(duration.value))
    return seconds


def step_seconds(home: Home, measured: Measured) -> dict[str, float]:
    """Seconds of processors of each step of the newest run, one after the other."""
    instants, taken = np.array(measured.cpu_seconds).T
    with DagsterInstance.from_config(str(home.settings.dagster_home)) as instance:
        (run,) = instance.get_runs(limit=1)
        steps = instance.get_run_step_stats(run.run_id)
    return {
        step.step_key: float(np.diff(np.interp([step.start_time, step.end_time], instants, taken))[0])
        for step in steps
        if step.end_time and step.start_time
    }


def floor(home: Home, table: str) -> float:
    """Seconds that plain DuckDB takes to read every row that a model reads, and to sum up their hashes."""
    nodes = {**home.manifest["nodes"], **home.manifest["sources"]}
    (model,) = (node for node in home.manifest["nodes"].values() if _is_model_of(node, table))
    path = str(home.settings.warehouse_path)
    with duckdb.connect(path, read_only=True, config={**home.settings.duckdb_config()}) as connection:
        started = perf_counter()
        for parent in model["depends_on"]["nodes"]:
            if parent in nodes:
                table_content(connection, relation_name(nodes[parent]))
        return perf_counter() - started


def _is_model_of(node: dict[str, object], table: str) -> bool:
    return node["resource_type"] == "model" and relation_name(node) == table


def costliest(seconds: dict[str, float]) -> list[str]:
    """The models or steps that took longest."""
    return sorted(seconds, key=lambda name: -seconds[name])[:COSTLIEST]


def grow(times: int, folder: Path, with_models: bool, source: str) -> Grown:
    """Refreshes a company of `times` the sample, and then with its last day in addition."""
    company, delivered = write_company(folder / "company", times, to_day=LAST_DAY), folder / "input"
    if source == "contract":
        _deliver(company, delivered, "before")
        home = Home(folder / "data", delivered, source, "America/New_York")
    else:
        home = Home(folder / "data", company)
    full = refresh(home, with_models)
    if source == "contract":
        write_transactions(company / "transactions.parquet", times, from_day=LAST_DAY)
        _deliver(company, delivered, str(LAST_DAY), BY_DAY)
    else:
        # One file holds all order lines: the next delivery of it is a day longer.
        write_transactions(company / "transactions.parquet", times)
    day = refresh(home, with_models)
    ((lines,),) = home.query("select count(*) from marts.order_lines")
    tables = dict.fromkeys([*costliest(full.models), *costliest(day.models)])
    return Grown(lines, full, day, {table: floor(home, table) for table in tables})


def _deliver(company: Path, folder: Path, name: str, tables: Collection[str] = tuple(QUERIES)) -> None:
    """Exports a company in the contract's shape, its orders and their lines to files of that name."""
    export_contract(company, folder, tables)
    for table in BY_DAY:
        (folder / table).mkdir(exist_ok=True)
        (folder / f"{table}.parquet").rename(folder / table / f"{name}.parquet")


def exponent(lines: list[int], seconds: list[float]) -> float:
    """The slope of least squares between logarithms: 1 where twice the rows take twice the time."""
    xs, ys = [math.log(value) for value in lines], [math.log(value) for value in seconds]
    return statistics.linear_regression(xs, ys).slope


def main(sizes: list[int], with_models: bool, source: str) -> None:
    """Measures and prints."""
    grown: dict[int, Grown] = {}
    for times in sizes:
        with tempfile.TemporaryDirectory() as temporary:
            grown[times] = grow(times, Path(temporary), with_models, source)
        one = grown[times]
        rows = [
            (name, f"{took.measured.seconds:.1f}", f"{took.cpu_seconds:.1f}", f"{took.measured.peak_bytes / 2**30:.2f}")
            for name, took in (("everything", one.full), ("a day more", one.day))
        ]
        show(f"{times} x the sample, {one.lines:,} order lines", ("refresh", "seconds", "of processors", "GiB"), rows)
        rows = [
            (table, f"{one.full.models.get(table, 0):.2f}", f"{one.day.models.get(table, 0):.2f}", f"{seconds:.2f}")
            for table, seconds in one.floors.items()
        ]
        show("the costliest tables, seconds by the clock", ("table", "everything", "a day more", "floor"), rows)
        steps = [
            (step, f"{one.full.steps.get(step, 0):.1f}", f"{one.day.steps.get(step, 0):.1f}")
            for step in dict.fromkeys([*costliest(one.full.steps), *costliest(one.day.steps)])
        ]
        show("the costliest steps, seconds of processors", ("step", "everything", "a day more"), steps)
    first, lines = grown[sizes[0]], [one.lines for one in grown.values()]
    results: dict[str, Any] = {
        "huge_pages": huge_pages(),
        "day_to_full": {str(times): one.day.cpu_seconds / one.full.cpu_seconds for times, one in grown.items()},
        "day_to_smallest_day": {
            str(times): one.day.cpu_seconds / first.day.cpu_seconds for times, one in grown.items()
        },
    }
    if len(sizes) > 1:
        results["exponent"] = {
            "everything": exponent(lines, [one.full.measured.seconds for one in grown.values()]),
            "everything, of processors": exponent(lines, [one.full.cpu_seconds for one in grown.values()]),
            "a day more, of processors": exponent(lines, [one.day.cpu_seconds for one in grown.values()]),
        }
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="multiples of the sample")
    parser.add_argument("--models", action="store_true", help="train and score all of them")
    parser.add_argument("--contract", action="store_true", help="as its own export, whose next day is a file more")
    given = parser.parse_args()
    main(list(given.sizes), given.models, "contract" if given.contract else "complete_journey")
