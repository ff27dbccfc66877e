"""dbt's tests as gate records: which there must be (from the manifest) and what they found (from run_results)."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from orchestration.checks.expectations import SHOWN_KEYS
from orchestration.checks.records import CheckResult
from orchestration.content_hash import TableContent

STATUS_PASSED = {"pass"}
STATUS_DECIDED = {"fail", "warn"}


@dataclass(frozen=True)
class DbtTest:
    """A data test of the project.

    Attributes:
        unique_id: dbt's id.
        name: Its name.
        tables: The tables that it looks at (`schema.table`), the one that it is written at first.
        severity: "error" blocks, "warn" reports.
        gate: The layer of its first table.
        key: Columns that name what it finds: those that its meta names, else the key of its first table.
        remedy: What to do where it fails.
    """

    unique_id: str
    name: str
    tables: tuple[str, ...]
    severity: str
    gate: str
    key: tuple[str, ...]
    remedy: str


def relation_name(node: Mapping[str, Any]) -> str:
    """`schema.table` of a model, seed or source."""
    return f"{node['schema']}.{node.get('alias') or node['identifier']}"


def _key(node: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(node.get("config", {}).get("meta", {}).get("key", ()))


def data_tests(manifest: Mapping[str, Any]) -> list[DbtTest]:
    """Every data test of the project."""
    nodes = {**manifest["nodes"], **manifest["sources"]}
    tests = []
    for unique_id, node in manifest["nodes"].items():
        if node["resource_type"] != "test":
            continue
        attached = node.get("attached_node")
        parents = sorted(set(node["depends_on"]["nodes"]), key=lambda parent: (parent != attached, parent))
        first = nodes[parents[0]]
        tests.append(
            DbtTest(
                unique_id=unique_id,
                name=node["name"],
                tables=tuple(relation_name(nodes[parent]) for parent in parents),
                severity=(node["config"].get("severity") or "error").lower(),
                gate=first["schema"],
                key=_key(node) or _key(first),
                remedy=(node.get("description") or "mend the source or the model, then refresh").strip(),
            )
        )
    return tests


def required_tests(manifest: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Every test that blocks, as (check_name, table_name)."""
    return {(test.name, table) for test in data_tests(manifest) if test.severity == "error" for table in test.tables}


def tested_tables(manifest: Mapping[str, Any], run_results_path: Path) -> set[str]:
    """The tables that the tests of a dbt run looked at."""
    ran = {outcome["unique_id"] for outcome in _outcomes(run_results_path)}
    return {table for test in data_tests(manifest) if test.unique_id in ran for table in test.tables}


def _outcomes(run_results_path: Path) -> list[dict[str, Any]]:
    return list(json.loads(run_results_path.read_text(encoding="utf-8"))["results"])


def out_of_memory(run_results_path: Path) -> list[str]:
    """Names of the models, seeds and tests that a dbt run had not memory enough for."""
    return [
        outcome["unique_id"].split(".")[2]
        for outcome in _outcomes(run_results_path)
        if "Out of Memory Error" in (outcome.get("message") or "")
    ]


def test_results(
    manifest: Mapping[str, Any],
    run_results_path: Path,
    connection: duckdb.DuckDBPyConnection,
    contents: Mapping[str, TableContent],
) -> Iterator[CheckResult]:
    """What the tests of a dbt run found: a result per test and table, for the content that the tables have now.

    A test that did not run (its table failed to build) has no result here, and publication misses it.
    """
    by_id = {test.unique_id: test for test in data_tests(manifest)}
    for outcome in _outcomes(run_results_path):
        test = by_id.get(outcome["unique_id"])
        if test is None or outcome["status"] == "skipped":
            continue
        passed = outcome["status"] in STATUS_PASSED
        message = None
        if not passed:
            # What an engine says of an error may quote a value, so it stays in dbt's results.
            found = outcome.get("message") if outcome["status"] in STATUS_DECIDED else "it could not be decided"
            keys = _failing_keys(connection, outcome.get("compiled_code"), test.key)
            message = (
                f"{found}{keys}. The query is in {run_results_path.parent / 'compiled'} under its name, what came of it"
                f" in {run_results_path}; {test.remedy}"
            )
        for table in test.tables:
            content = contents.get(table)
            yield CheckResult(
                gate=test.gate,
                check_name=test.name,
                table_name=table,
                passed=passed,
                severity=test.severity,
                row_count=None if content is None else content.row_count,
                unexpected_rows=outcome.get("failures"),
                message=message,
                content_hash=None if content is None else content.content_hash,
            )


def _failing_keys(connection: duckdb.DuckDBPyConnection, compiled_code: str | None, key: tuple[str, ...]) -> str:
    """Keys of some failing rows, where the test's query gives them; other columns may be personal."""
    if not compiled_code or not key:
        return ""
    try:
        rows = connection.execute(
            f"select distinct {', '.join(key)} from ({compiled_code}) order by all limit {SHOWN_KEYS}"
        ).fetchall()
    except duckdb.Error:
        return ""  # the query gives counts, or rows of another table
    shown = "; ".join(", ".join(f"{name}={value}" for name, value in zip(key, row, strict=True)) for row in rows)
    return f", for example {shown}"
