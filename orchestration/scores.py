"""What the models said, on disk: a Parquet file per table, day and model, with the columns that dbt's source declares.

The warehouse sees them as views, so it can be rebuilt without them being computed anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path

import duckdb
import pandas as pd
import yaml

from orchestration.content_hash import quote_identifier
from orchestration.files import replace_durably
from orchestration.settings import DBT_PROJECT_DIR

DECLARATION = DBT_PROJECT_DIR / "models" / "marts" / "_scores__sources.yml"


@dataclass(frozen=True)
class ScoreTable:
    """A table of scores as dbt's source declares it.

    Attributes:
        name: In the schema `scores`.
        columns: Name and type, in order; the first is `refresh_date`.
    """

    name: str
    columns: tuple[tuple[str, str], ...]

    @property
    def definition(self) -> str:
        """The columns, as in `create table`."""
        return ", ".join(f"{quote_identifier(name)} {data_type}" for name, data_type in self.columns)


@lru_cache
def score_tables() -> dict[str, ScoreTable]:
    """The declared tables, by name."""
    (node,) = yaml.safe_load(DECLARATION.read_text(encoding="utf-8"))["sources"]
    return {
        table["name"]: ScoreTable(
            table["name"], tuple((column["name"], column["data_type"]) for column in table["columns"])
        )
        for table in node["tables"]
    }


def write_scores(
    connection: duckdb.DuckDBPyConnection,
    table_name: str,
    model: str,
    day: date,
    frames: Iterable[pd.DataFrame],
    folder: Path,
) -> int:
    """Writes one model's rows of a day, in place of those that were there; all or nothing.

    Args:
        connection: Holds the rows meanwhile, on disk where there are many; frames come one by one.
        table_name: One of `score_tables`.
        model: Who said it.
        day: The refreshed day.
        frames: Rows, with the declared columns but `refresh_date`; what is missing is NULL.
        folder: Of all scores.

    Returns:
        Rows written.

    Raises:
        duckdb.Error: A frame has a column that is not declared, or a value that its type cannot hold.
    """
    table = score_tables()[table_name]
    connection.execute(f"create or replace temp table scored ({table.definition})")
    for frame in frames:
        if len(frame):
            connection.register("scored_batch", frame)
            connection.execute(
                "insert into scored by name select $day::date as refresh_date, * from scored_batch", {"day": day}
            )
            connection.unregister("scored_batch")
    target = folder / table_name / f"{day}.{model}.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    building = target.with_suffix(".building")
    connection.execute(f"copy (from scored order by all) to '{building}' (format parquet, compression zstd)")
    replace_durably(building, target)
    (rows,) = connection.execute("select count(*) from scored").fetchall()[0]
    connection.execute("drop table scored")
    return int(rows)


def show_scores(connection: duckdb.DuckDBPyConnection, folder: Path, day: date) -> None:
    """Makes the views show the scores of `day`, and of the newest day where that is another; none are empty views."""
    connection.execute("create schema if not exists scores")
    for table in score_tables().values():
        files = sorted((folder / table.name).glob("*.parquet"))
        shown = {day.isoformat(), max((file.name[:10] for file in files), default="")}
        paths = ", ".join("'" + str(file).replace("'", "''") + "'" for file in files if file.name[:10] in shown)
        columns = ", ".join(quote_identifier(name) for name, _ in table.columns)
        nothing = ", ".join(f"null::{data_type} as {quote_identifier(name)}" for name, data_type in table.columns)
        query = f"select {columns} from read_parquet([{paths}])" if paths else f"select {nothing} where false"
        connection.execute(f"create or replace view scores.{table.name} as {query}")
