"""What the refresh costs beside its floor: the same compiled SQL, run by plain DuckDB in one process.

Run by `make bench`. Every figure is a ratio of two measurements of this run, or a size; seconds are shown beside
them, as machines differ. The fixed part (start-up, imports, parsing, checks of a few rows) is what a refresh of 60
households takes; the marginal part is what the whole sample takes on top, and its floor likewise. Both without models;
what these cost is shown by itself, and beside bare LightGBM in `tests.benchmarks.models`.
"""

import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import duckdb
import psutil

from orchestration.checks.dbt_tests import relation_name
from orchestration.dbt_project import run_folder
from orchestration.settings import DBT_PROJECT_DIR, PROJECT_ROOT
from tests.pipeline import Home, cut_sample

REPEATS = 3


@dataclass(frozen=True)
class Measured:
    """What a process and its children took.

    Attributes:
        seconds: By the clock.
        peak_bytes: The most memory that they held at one time.
        cpu_seconds: Seconds of processors that they had taken by an instant (seconds since 1970), one after the other.
    """

    seconds: float
    peak_bytes: int
    cpu_seconds: tuple[tuple[float, float], ...] = ()


def measure(command: list[str], environment: dict[str, str]) -> Measured:
    """Runs a command to its end.

    Raises:
        RuntimeError: It failed.
    """
    started, peak, cpu_seconds = time.perf_counter(), 0, [(time.time(), 0.0)]
    with tempfile.TemporaryFile("w+") as output:
        process = psutil.Popen(command, cwd=PROJECT_ROOT, env=environment, stdout=output, stderr=output, text=True)
        while process.poll() is None:
            resident, taken = _resources(process)
            peak = max(peak, resident)
            # Of a child that has just ended its parent may not know yet.
            cpu_seconds.append((time.time(), max(taken, cpu_seconds[-1][1])))
            time.sleep(0.05)
        if process.returncode != 0:
            output.seek(0)
            raise RuntimeError(f"{command} failed:\n{output.read()[-3000:]}")
    return Measured(time.perf_counter() - started, peak, tuple(cpu_seconds))


def _resources(process: psutil.Process) -> tuple[int, float]:
    """Bytes that a process and its children hold, and seconds of processors that they and ended children took."""
    resident, cpu_seconds = 0, 0.0
    for member in [process, *_children(process)]:
        try:
            resident += member.memory_info().rss
            cpu_seconds += sum(member.cpu_times()[:4])
        except psutil.Error:
            continue
    return resident, cpu_seconds


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def huge_pages() -> str:
    """To whom Linux gives huge pages of memory; without them DuckDB's joins and sums may take several times as long."""
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    chosen = re.search(r"\[(\w+)\]", setting.read_text()) if setting.exists() else None
    return chosen.group(1) if chosen else "unknown"


def median(measurement: Callable[[], Measured]) -> Measured:
    """The middle of some measurements, and the highest peak."""
    measured = [measurement() for _ in range(REPEATS)]
    return Measured(statistics.median(m.seconds for m in measured), max(m.peak_bytes for m in measured))


def floor(home: Home) -> float:
    """Seconds that plain DuckDB takes for the compiled SQL of a refreshed home, and for copying the marts to a file.

    It works on a copy of the warehouse, as the refresh does on the warehouse of the day before: tables are built anew,
    incremental ones take the rows that their SQL gives.
    """
    settings, folder = home.settings, home.data / "floor"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    manifest = home.manifest
    nodes = {
        unique_id: node for unique_id, node in manifest["nodes"].items() if node["resource_type"] in ("model", "seed")
    }
    order = TopologicalSorter({uid: node["depends_on"].get("nodes", []) for uid, node in nodes.items()}).static_order()
    compiled = run_folder(settings) / "compiled" / manifest["metadata"]["project_name"]
    # The name is part of the compiled SQL.
    copy = folder / settings.warehouse_path.name
    shutil.copyfile(settings.warehouse_path, copy)

    started = time.perf_counter()
    with duckdb.connect(str(copy), config={**settings.duckdb_config()}) as connection:
        for node in (nodes[uid] for uid in order if uid in nodes):
            relation, kind = relation_name(node), node["config"]["materialized"]
            if kind == "seed":
                sql = f"from read_csv('{DBT_PROJECT_DIR / node['original_file_path']}')"
            else:
                sql = (compiled / node["original_file_path"]).read_text()
            if kind == "incremental":
                connection.execute(f"create or replace temp table new_rows as {sql}")
                if node["config"]["incremental_strategy"] != "append":
                    key = node["config"]["unique_key"]
                    connection.execute(f"delete from {relation} where {key} in (select {key} from new_rows)")
                connection.execute(f"insert into {relation} by name from new_rows")
            else:
                connection.execute(f"create or replace {'view' if kind == 'view' else 'table'} {relation} as {sql}")
        connection.execute(f"attach '{folder / 'published.duckdb'}' as published; create schema published.marts")
        for node in nodes.values():
            if node["schema"] == "marts":
                connection.execute(f"create table published.{relation_name(node)} as from {relation_name(node)}")
    return time.perf_counter() - started


def import_seconds(statement: str, environment: dict[str, str]) -> float:
    """Seconds of a new interpreter that runs one statement."""
    return median(lambda: measure([sys.executable, "-c", statement], environment)).seconds


def main() -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        small = Home(folder / "small", cut_sample(folder / "input"))
        whole = Home(folder / "whole")
        command = [sys.executable, "-m", "orchestration", "refresh"]
        results: dict[str, Any] = {"cores": os.cpu_count(), "huge_pages": huge_pages(), "repeats": REPEATS}
        alone = {"CUSTOMER360_MODELS": "none"}
        first = measure(command, whole.environment())
        with_models = median(lambda: measure(command, whole.environment()))
        measure(command, small.environment())
        refreshed = {
            name: median(lambda home=home: measure(command, home.environment(**alone)))  # type: ignore[misc]
            for name, home in (("small", small), ("whole", whole))
        }
        floors = {
            name: statistics.median(floor(home) for _ in range(REPEATS))
            for name, home in (("small", small), ("whole", whole))
        }
        marginal = refreshed["whole"].seconds - refreshed["small"].seconds
        marginal_floor = floors["whole"] - floors["small"]
        load = "from orchestration.definitions import defs"
        environment = {**whole.environment(), **whole.settings.dbt_environment()}
        location = import_seconds(load, environment)
        libraries = import_seconds("import dagster, dagster_dbt, pandas, duckdb", environment)
        results |= {
            "first_refresh_seconds": first.seconds,
            "refresh_with_models_seconds": with_models.seconds,
            "models_seconds": with_models.seconds - refreshed["whole"].seconds,
            "refresh_seconds": refreshed["whole"].seconds,
            "floor_seconds": floors["whole"],
            "refresh_to_floor": refreshed["whole"].seconds / floors["whole"],
            "fixed_seconds": refreshed["small"].seconds,
            "marginal_seconds": marginal,
            "marginal_floor_seconds": marginal_floor,
            "marginal_to_floor": marginal / marginal_floor,
            "peak_memory_gib": max(first.peak_bytes, with_models.peak_bytes) / 2**30,
            "code_location_seconds": location,
            "code_location_to_its_libraries": location / libraries,
        }
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in results.items()}
    print(json.dumps(rounded, indent=2))


if __name__ == "__main__":
    main()
