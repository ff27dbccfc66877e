"""Our own generic dbt tests, tested: each passes where it should, and fails in each way that it can."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pytest
import yaml

from orchestration.dbt_project import dbt_executable
from orchestration.settings import DBT_PROJECT_DIR

NO_ROWS = "select 1 as id, 7 as value, date '2018-01-01' as day, true as is_bad where false"

ARGUMENTS: dict[str, dict[str, Any]] = {
    "filled": {"required": ["id"]},
    "unique_combination": {"columns": ["id", "value"]},
    "unique": {"column_name": "value"},
    "is_true": {"expression": "value >= 0 and id > 0"},
    "is_true_for_some": {"condition": "value = 7"},
    "share_at_most": {"condition": "is_bad", "max_share": 0.02},
    "no_gaps": {"column": "day"},
    "one_value": {"column": "value", "per": "id"},
}


@dataclass(frozen=True)
class Case:
    """A table, a generic test on it, and what the test should say: pass, fail, or error where it cannot be decided."""

    name: str
    test: str
    status: str
    table: str
    arguments: dict[str, Any] = field(default_factory=dict)


def rows(values: str) -> str:
    return f"from (values {values}) as rows (id, value)"


def bad_of_a_hundred(bad_rows: int) -> str:
    return f"select range < {bad_rows} as is_bad from range(100)"


def days(*dates: str) -> str:
    return f"select unnest({list(dates)})::date as day"


MAY_BE_EMPTY = {"may_be_empty": ["value"]}
MAY_HAVE_NO_ROWS = {"may_have_no_rows": True}
UNLESS_ABSENT = {"unless_absent": ["landed", "not_landed"]}

TWO_VALUES = rows("(1, 'EUR'), (2, 'USD')")

CASES = [
    Case("filled_everywhere", "filled", "pass", rows("(1, 'a'), (2, 'b')")),
    Case("an_optional_column_has_a_null", "filled", "pass", rows("(1, 'a'), (2, null)")),
    Case("an_optional_column_has_no_value", "filled", "fail", rows("(1, null), (2, null)")),
    Case("a_column_that_may_be_empty_has_no_value", "filled", "pass", rows("(1, null), (2, null)"), MAY_BE_EMPTY),
    Case("a_required_column_has_a_null", "filled", "fail", rows("(1, 'a'), (null, 'b')")),
    Case("a_required_column_has_no_value", "filled", "fail", rows("(null::integer, 'a')")),
    Case(
        "a_required_column_has_a_null_beside_an_empty_one",
        "filled",
        "fail",
        rows("(1, 'a'), (null, 'b')"),
        MAY_BE_EMPTY,
    ),
    Case("a_required_column_is_missing", "filled", "error", "select 1 as value"),
    Case("filled_without_rows", "filled", "fail", NO_ROWS),
    Case(
        "filled_without_rows_where_all_else_may_be_empty",
        "filled",
        "fail",
        rows("(1, 1)") + " where false",
        MAY_BE_EMPTY,
    ),
    Case("empty_where_a_table_is_absent", "filled", "pass", rows("(1, 1)") + " where false", UNLESS_ABSENT),
    Case("without_a_value_where_a_table_is_absent", "filled", "pass", rows("(1, null), (2, null)"), UNLESS_ABSENT),
    Case("a_null_where_a_table_is_absent", "filled", "fail", rows("(1, 'a'), (null, 'b')"), UNLESS_ABSENT),
    Case("empty_where_another_table_is_absent", "filled", "fail", NO_ROWS, {"unless_absent": ["landed"]}),
    Case("empty_where_it_may_have_no_rows", "filled", "pass", NO_ROWS, MAY_HAVE_NO_ROWS),
    Case("without_a_value_where_it_may_have_no_rows", "filled", "fail", rows("(1, null)"), MAY_HAVE_NO_ROWS),
    Case("combinations_differ", "unique_combination", "pass", rows("(1, 'a'), (1, 'b'), (2, 'a')")),
    Case("a_combination_repeats", "unique_combination", "fail", rows("(1, 'a'), (2, 'a'), (1, 'a')")),
    Case("a_combination_with_a_null_repeats", "unique_combination", "fail", rows("(1, null), (1, null)")),
    Case("values_differ", "unique", "pass", rows("(1, 'a'), (1, 'b')")),
    Case("nulls_are_no_values", "unique", "pass", rows("(1, 'a'), (2, null), (3, null)")),
    Case("a_value_repeats", "unique", "fail", rows("(1, 'a'), (2, 'b'), (3, 'a')")),
    Case("true_for_every_row", "is_true", "pass", rows("(1, 5), (2, 0)")),
    Case("undecided_is_not_broken", "is_true", "pass", rows("(1, 5), (2, null)")),
    Case("broken_by_one_row", "is_true", "fail", rows("(1, 5), (2, -1)")),
    Case("broken_in_one_part_and_undecided_in_the_other", "is_true", "fail", rows("(1, 5), (0, null)")),
    Case("true_for_one_row", "is_true_for_some", "pass", rows("(1, 5), (2, 7)")),
    Case("true_for_no_row", "is_true_for_some", "fail", rows("(1, 5), (2, null)")),
    Case("true_for_some_without_rows", "is_true_for_some", "fail", NO_ROWS),
    Case("a_share_below_the_limit", "share_at_most", "pass", bad_of_a_hundred(1)),
    Case("a_share_at_the_limit", "share_at_most", "pass", bad_of_a_hundred(2)),
    Case("a_share_above_the_limit", "share_at_most", "fail", bad_of_a_hundred(3)),
    Case("one_row_where_none_is_allowed", "share_at_most", "fail", bad_of_a_hundred(1), {"max_share": 0}),
    Case("days_without_gaps", "no_gaps", "pass", days("2018-01-01", "2017-12-31", "2018-01-02")),
    Case("a_day_twice", "no_gaps", "pass", days("2018-01-01", "2018-01-01", "2018-01-02")),
    Case("a_day_is_missing", "no_gaps", "fail", days("2018-01-01", "2018-01-03")),
    Case("a_day_is_missing_and_another_twice", "no_gaps", "fail", days("2018-01-01", "2018-01-01", "2018-01-03")),
    Case("no_gaps_without_rows", "no_gaps", "fail", NO_ROWS),
    Case("one_value_everywhere", "one_value", "pass", rows("(1, 'EUR'), (2, 'EUR')")),
    Case("one_value_beside_nulls", "one_value", "pass", rows("(1, 'EUR'), (2, null)")),
    Case("no_value_at_all", "one_value", "pass", rows("(1, null), (2, null)")),
    Case("two_values", "one_value", "fail", rows("(1, 'EUR'), (1, 'USD')")),
    Case("two_values_of_which_one_is_out_of_question", "one_value", "pass", TWO_VALUES, {"condition": "id = 1"}),
]


@pytest.fixture(scope="module")
def statuses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Status of every case's test, from one build of a project that has nothing but the cases and our macros."""
    project = tmp_path_factory.mktemp("generic_tests")
    shutil.copytree(DBT_PROJECT_DIR / "macros", project / "macros")
    shutil.copytree(DBT_PROJECT_DIR / "tests" / "generic", project / "tests" / "generic")
    (project / "models").mkdir()
    models = []
    for case in CASES:
        (project / "models" / f"{case.name}.sql").write_text(case.table)
        test = {"name": f"test_{case.name}", "arguments": ARGUMENTS[case.test] | case.arguments}
        models.append({"name": case.name, "data_tests": [{case.test: test}]})
    control = {"name": "control", "schema": "control", "tables": [{"name": "absent_tables"}]}
    (project / "models" / "cases.yml").write_text(yaml.safe_dump({"models": models, "sources": [control]}))
    with duckdb.connect(str(project / "cases.duckdb")) as connection:
        connection.execute("create schema control")
        connection.execute("create table control.absent_tables as select 'not_landed' as table_name")
    (project / "dbt_project.yml").write_text(
        yaml.safe_dump(
            {
                "name": "generic_tests",
                "profile": "generic_tests",
                "flags": {"send_anonymous_usage_stats": False},
                "models": {"+materialized": "table"},
            }
        )
    )
    (project / "profiles.yml").write_text(
        yaml.safe_dump(
            {
                "generic_tests": {
                    "target": "t",
                    "outputs": {"t": {"type": "duckdb", "path": "cases.duckdb", "threads": 1}},
                }
            }
        )
    )
    outcome = subprocess.run(
        [dbt_executable(), "build", "--profiles-dir", str(project)],
        cwd=project,
        env={**os.environ, "DO_NOT_TRACK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    run_results = project / "target" / "run_results.json"
    assert run_results.exists(), outcome.stdout + outcome.stderr
    results = json.loads(run_results.read_text())["results"]
    return {result["unique_id"].split(".")[2]: result["status"] for result in results}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_generic_test_passes_and_fails_where_it_should(statuses: dict[str, str], case: Case) -> None:
    assert statuses[case.name] == "success"
    assert statuses[f"test_{case.name}"] == case.status


def test_every_generic_test_has_a_case_that_passes_and_one_that_fails() -> None:
    ours = {path.stem for path in (DBT_PROJECT_DIR / "tests" / "generic").glob("*.sql")}
    for status in ("pass", "fail"):
        assert {case.test for case in CASES if case.status == status} == ours
