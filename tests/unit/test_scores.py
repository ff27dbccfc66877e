"""Scores on disk: typed as declared, whole or not at all, and shown for the days that are asked for."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from orchestration.housekeeping import verify
from orchestration.scores import score_tables, sealed_and_found, show_scores, write_scores
from orchestration.settings import load_settings

DAY, NEXT = date(2018, 1, 1), date(2018, 1, 2)


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        yield made


def frame(*customers: str, score: float = 0.25) -> pd.DataFrame:
    return pd.DataFrame({"customer_id": customers, "churn_probability": score, "reason_1": "raises: so it is"})


def test_batches_become_one_table_with_the_declared_types(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    batches = [frame("a", "b"), frame(), frame("c", score=float("nan"))]
    assert write_scores(connection, "churn", "churn", DAY, batches, tmp_path) == 3
    show_scores(connection, tmp_path, DAY)
    found = connection.execute("describe scores.churn").fetchall()
    assert [(name, kind.lower().replace(" ", "")) for name, kind, *_ in found] == list(score_tables()["churn"].columns)
    rows = connection.execute("select customer_id, churn_probability::varchar, reason_2 from scores.churn order by all")
    assert rows.fetchall() == [("a", "0.250000", None), ("b", "0.250000", None), ("c", None, None)]


def test_views_show_the_day_and_the_newest_and_nothing_else(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    show_scores(connection, tmp_path, DAY)
    assert connection.execute("select count(*) from scores.churn").fetchall() == [(0,)]
    for day in (DAY, NEXT, date(2018, 1, 3)):
        write_scores(connection, "churn", "churn", day, [frame(str(day))], tmp_path)
    show_scores(connection, tmp_path, DAY)
    shown = connection.execute("select refresh_date::varchar, customer_id from scores.churn order by all").fetchall()
    assert shown == [("2018-01-01", "2018-01-01"), ("2018-01-03", "2018-01-03")]


def test_a_day_is_replaced_as_a_whole(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    write_scores(connection, "churn", "churn", DAY, [frame("a", "b")], tmp_path)
    write_scores(connection, "churn", "churn", DAY, [frame("c")], tmp_path)
    show_scores(connection, tmp_path, DAY)
    assert connection.execute("select customer_id from scores.churn").fetchall() == [("c",)]


@pytest.mark.parametrize(
    "bad", [frame("a").assign(unheard_of=1), frame("a", score=1e9), frame("a").assign(churn_probability="high")]
)
def test_what_does_not_fit_is_refused_and_the_day_stays(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, bad: pd.DataFrame
) -> None:
    write_scores(connection, "churn", "churn", DAY, [frame("a")], tmp_path)
    with pytest.raises(duckdb.Error):
        write_scores(connection, "churn", "churn", DAY, [frame("b"), bad], tmp_path)
    show_scores(connection, tmp_path, DAY)
    assert connection.execute("select customer_id from scores.churn").fetchall() == [("a",)]
    assert [path.name for path in (tmp_path / "churn").iterdir()] == ["2018-01-01.churn.parquet"]


def test_a_file_says_what_it_holds_and_verify_finds_what_it_does_not(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    settings, said = load_settings(data=tmp_path), list[str]()
    write_scores(connection, "churn", "churn", DAY, [frame("a", "b")], settings.scores_dir)
    path = settings.scores_dir / "churn" / f"{DAY}.churn.parquet"
    seal, found = sealed_and_found(connection, path)
    assert seal == found
    assert verify(settings, said.append) == []
    # Another score under the same seal: it can be read, and is not what was written.
    connection.execute(f"create table changed as select * replace (0.5 as churn_probability) from '{path}'")
    connection.execute(f"copy changed to '{path}' (format parquet, kv_metadata {{content_hash: '{seal}'}})")
    (problem,) = verify(settings, said.append)
    assert "is not what was written" in problem and f"make refresh AS_OF={DAY}" in problem
    # A file of an earlier version says nothing of it, and can be read.
    connection.execute(f"copy changed to '{path}' (format parquet)")
    assert sealed_and_found(connection, path)[0] is None and verify(settings, said.append) == []
