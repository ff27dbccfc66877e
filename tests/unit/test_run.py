"""What becomes of a run that does not say that it has ended."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from dagster import (
    AssetExecutionContext,
    ConfigurableResource,
    DagsterEventType,
    DagsterInstance,
    Failure,
    InitResourceContext,
    asset,
    materialize,
)

from orchestration.run import ENDS_WITHIN_SECONDS, end_killed_runs, failures_of


class Lock(ConfigurableResource["Lock"]):
    """Let go of when the steps of a run are over: then a refresh that waited looks at the runs."""

    seconds_later: float = 0

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Iterator["Lock"]:
        yield self
        assert context.instance is not None
        later = datetime.now(UTC) + timedelta(seconds=self.seconds_later)
        ended.append(end_killed_runs(context.instance, later))


ended: list[int] = []


@asset
def kept(lock: Lock) -> None:
    """An asset that a run promises."""


@asset
def under_way(context: AssetExecutionContext, lock: Lock) -> None:
    """In the middle of its step another refresh takes the lock: the run's process must be gone."""
    ended.append(end_killed_runs(context.instance))


@pytest.mark.parametrize(
    ("asset_def", "lock", "expected"),
    [
        (kept, Lock(), [0]),
        (kept, Lock(seconds_later=2 * ENDS_WITHIN_SECONDS), [1]),
        (under_way, Lock(), [1, 0]),
    ],
    ids=["about to say that it has ended", "killed before it said so", "killed within a step"],
)
def test_a_run_that_is_about_to_end_is_left_alone(
    asset_def: object, lock: Lock, expected: list[int], tmp_path: Path
) -> None:
    ended.clear()
    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        run_id = materialize([asset_def], instance=instance, resources={"lock": lock}).run_id  # type: ignore[list-item]
        failures = instance.all_logs(run_id, of_type=DagsterEventType.RUN_FAILURE)
    assert ended == expected
    assert len(list(failures)) == sum(expected)


def starve() -> None:
    with duckdb.connect(config={"memory_limit": "1MB", "temp_directory": ""}) as connection:
        connection.execute("select range, count(*) from range(1000000) group by all order by all").fetchall()


@asset
def starved() -> None:
    """An asset whose query does not fit into its memory."""
    starve()


@asset
def starved_and_said_so() -> None:
    """One that tells what became of it itself."""
    try:
        starve()
    except duckdb.Error as error:
        raise Failure(description="nothing was written") from error


def test_too_little_memory_is_named_with_its_setting(tmp_path: Path) -> None:
    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        run_id = materialize([starved, starved_and_said_so], instance=instance, raise_on_error=False).run_id
        told = sorted(failures_of(instance, run_id))
    assert told[0].startswith("starved: CUSTOMER360_MEMORY_LIMIT was not enough (")
    assert "Out of Memory Error: failed to allocate" in told[0]
    assert told[0].endswith("). Give more")
    assert told[1:] == ["starved_and_said_so: nothing was written"]
