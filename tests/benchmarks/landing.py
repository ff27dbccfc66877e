"""What landing costs beside its floor: the same file in a bare `create table as select * from read_…`.

Run by `make bench`. Rows per second of landing (hash, conversion, durable files, ledger) as a share of the floor's,
which is measured in the same run: into a DuckDB file, which is as durable, and into memory. The rows are the sample's
own, as order lines of the contract; CSV as a plain UTF-8 file, and as one that has to be decoded and renumbered.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import duckdb

from orchestration.content_hash import quote_identifier
from orchestration.landing import land, show_raw, tables_in_force
from orchestration.sources import Source, load_source
from tests.benchmarks.models import show
from tests.pipeline import SAMPLE

REPEATS = 3
COPIES = 1
LINES = (
    "select basket_id || '-' || copy as order_id, product_id, quantity, sales_value::decimal(18, 2) as net_sales,"
    " basket_id || '-' || copy || '-' || row_number() over () as order_line_id,"
    " (sales_value / greatest(quantity, 1))::decimal(18, 4) as unit_price,"
    " (sales_value + retail_disc)::decimal(18, 2) as gross_sales, retail_disc::decimal(18, 2) as discounts"
    f" from '{SAMPLE}/transactions.parquet', range({COPIES}) as copies(copy)"
)
# By name: how the file is written, the bare reader's own words for it, and its format.yml.
FORMS = {
    "Parquet": ("order_lines.parquet", "format parquet", "read_parquet('{}')", ""),
    "CSV, utf-8": ("order_lines.csv", "format csv", "read_csv('{}')", ""),
    "CSV, cp1252": ("order_lines.csv", "format csv, delimiter ';'", "read_csv('{}', delim = ';')", "cp1252"),
}


def seconds(run: Callable[[Path], None]) -> float:
    """Median of several runs, each in a folder of its own; the first, which warms up, is not counted."""
    taken = []
    for _ in range(REPEATS + 1):
        with tempfile.TemporaryDirectory() as temporary:
            started = time.perf_counter()
            run(Path(temporary))
            taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


def to_file(relation: str, folder: Path) -> None:
    """The floor, as durable as landing."""
    with duckdb.connect(str(folder / "bare.duckdb")) as connection:
        connection.execute(f"create table lines as select * from {relation}")


def to_memory(relation: str, _: Path) -> None:
    """The floor without a disk."""
    with duckdb.connect() as connection:
        connection.execute(f"create table lines as select * from {relation}")


def landed(source: Source, inbox: Path, folder: Path) -> None:
    """Landing into a new folder."""
    land(source, inbox, folder)


def read(source: Source, raw_dir: Path, _: Path) -> None:
    """Every column of the view, cleaning included."""
    (table,) = source.tables
    columns = ", ".join(f"max({quote_identifier(column.name)})" for column in table.columns)
    with duckdb.connect() as connection:
        show_raw(connection, source, tables_in_force(source, raw_dir), raw_dir)
        connection.execute(f"select {columns} from {table.view}").fetchall()


def main() -> int:
    """Measures and prints."""
    source = load_source("contract")
    source = replace(source, tables=tuple(table for table in source.tables if table.name == "order_lines"))
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for form, (name, options, reader, encoding) in FORMS.items():
            inbox, raw_dir = Path(temporary) / form, Path(temporary) / f"{form} raw"
            inbox.mkdir()
            path = inbox / name
            with duckdb.connect() as connection:
                ((count,),) = connection.execute(f"copy ({LINES}) to '{path}' ({options})").fetchall()
            if encoding:
                (inbox / "format.yml").write_text(f"encoding: {encoding}\ndelimiter: ';'\n", encoding="utf-8")
            relation = reader.format(path)
            landing = seconds(partial(landed, source, inbox))
            land(source, inbox, raw_dir)
            floors = [
                landing_floor / landing
                for landing_floor in (seconds(partial(to_file, relation)), seconds(partial(to_memory, relation)))
            ]
            rows.append(
                (
                    *(form, f"{count:,}", f"{path.stat().st_size / 1e6:.0f}", f"{count / landing:,.0f}"),
                    *(f"{share:.2f}" for share in floors),
                    f"{seconds(partial(read, source, raw_dir)):.2f}",
                )
            )
    header = (
        "file",
        "rows",
        "MB",
        "rows landed/s",
        "to a table in a file",
        "to one in memory",
        "seconds to read the view",
    )
    show("landing, rows per second as a share of a bare create table", header, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
