"""What the models said, on disk: a Parquet file per table, day and model, with the columns that dbt's source declares.

The warehouse sees them as views, so it can be rebuilt without them being computed anew. A file is sealed by the hash of
its rows, as a later day may take some of them over.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path

import duckdb
import pandas as pd
import yaml

from orchestration.content_hash import quote_identifier, table_content
from orchestration.file_format import literal
from orchestration.files import replace_durably
from orchestration.settings import DBT_PROJECT_DIR

DECLARATION = DBT_PROJECT_DIR / "models" / "marts" / "_scores__sources.yml"
# Where a file says what it holds.
SEAL = "content_hash"


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


@dataclass(frozen=True)
class ScoreFiles:
    """The files of a model's table of scores, by day."""

    folder: Path
    model: str
    table: str = ""

    def path(self, day: date) -> Path:
        """The file of a day, whether there is one or not."""
        return self.folder / (self.table or self.model) / f"{day}.{self.model}.parquet"

    def days(self, before: date) -> list[date]:
        """Days before that have a file, newest first."""
        paths = (self.folder / (self.table or self.model)).glob(f"*.{self.model}.parquet")
        found = (date.fromisoformat(path.name[:10]) for path in paths)
        return sorted((day for day in found if day < before), reverse=True)

    def beside(self, table: str) -> "ScoreFiles":
        """The same model's files in another table."""
        return ScoreFiles(self.folder, self.model, table)


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
    content = table_content(connection, "scored")
    connection.execute(
        f"copy (from scored order by all) to {literal(str(building))} (format parquet, compression zstd,"
        f" kv_metadata {{{SEAL}: '{content.content_hash}'}})"
    )
    replace_durably(building, target)
    connection.execute("drop table scored")
    return content.row_count or 0


def sealed_and_found(connection: duckdb.DuckDBPyConnection, path: Path) -> tuple[str | None, str]:
    """The content hash that a file says it has (None where it says nothing of that), and the one that it has.

    Raises:
        duckdb.Error: It cannot be read.
    """
    seal = connection.execute(
        f"select decode(value) from parquet_kv_metadata({literal(str(path))}) where decode(key) = ?", [SEAL]
    ).fetchone()
    return seal[0] if seal else None, table_content(connection, literal(str(path))).content_hash


def show_scores(connection: duckdb.DuckDBPyConnection, folder: Path, day: date) -> None:
    """Makes the views show the scores of `day`, and of the newest day where that is another; none are empty views."""
    connection.execute("create schema if not exists scores")
    for table in score_tables().values():
        files = sorted((folder / table.name).glob("*.parquet"))
        shown = {day.isoformat(), max((file.name[:10] for file in files), default="")}
        paths = ", ".join(literal(str(file)) for file in files if file.name[:10] in shown)
        columns = ", ".join(quote_identifier(name) for name, _ in table.columns)
        nothing = ", ".join(f"null::{data_type} as {quote_identifier(name)}" for name, data_type in table.columns)
        query = f"select {columns} from read_parquet([{paths}])" if paths else f"select {nothing} where false"
        connection.execute(f"create or replace view scores.{table.name} as {query}")
