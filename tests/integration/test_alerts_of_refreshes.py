"""A refresh that fails, leaves something out or never comes is told: by the command, and by the daemon's sensors."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetKey,
    AssetSpec,
    DagsterInstance,
    DagsterRun,
    Definitions,
    MaterializeResult,
    asset,
    build_sensor_context,
    define_asset_job,
    multi_asset,
)

from orchestration.definitions import build_defs
from orchestration.jobs import DAILY_REFRESH
from orchestration.run import STARTED_BY_COMMAND, broken_promises
from orchestration.sensors import alert_of
from tests.integration.test_gates_block import inbox
from tests.pipeline import Home
from tests.unit.test_alerts import Server, serving, status

MISSING = "transactions.parquet is missing"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(status(200)) as served:
        yield served


def test_the_command_tells_what_a_gate_refused_and_says_no_address(copied_home: Home, server: Server) -> None:
    products = inbox(copied_home) / "products.parquet"
    products.write_bytes(products.read_bytes()[:-1000])
    outcome = copied_home.refresh(CUSTOMER360_ALERT_WEBHOOK=server.address)
    assert outcome.returncode == 1
    (alert,) = server.received
    assert alert["kind"] == "failed" and "2018-01-01 failed; what is published stays" in alert["subject"]
    (reason,) = alert["reasons"]
    assert "products.parquet is not a whole Parquet file" in reason and "deliver the file again" in reason
    current = copied_home.store.current()
    assert current is not None and f"Readers have version {current.version}" in alert["readers_have"]
    assert alert["run_id"] in {run.run_id for run in runs_of(copied_home)}
    printed = outcome.stdout + outcome.stderr
    assert "not-to-be-seen" not in printed and "was not delivered" not in printed
    logs = [path for path in copied_home.data.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in logs if b"not-to-be-seen" in path.read_bytes()] == []


def test_the_command_tells_what_could_not_start_and_goes_on_without_the_server(copied_home: Home) -> None:
    (inbox(copied_home) / "transactions.parquet").unlink()
    told = copied_home.data.parent / "told.json"
    outcome = copied_home.refresh(
        CUSTOMER360_ALERT_WEBHOOK="http://127.0.0.1:9/not-to-be-seen", CUSTOMER360_ALERT_COMMAND=f"tee {told}"
    )
    assert outcome.returncode == 2
    assert "the alert was not delivered by CUSTOMER360_ALERT_WEBHOOK: Connection refused" in outcome.stderr
    assert "not-to-be-seen" not in outcome.stderr
    assert MISSING in json.loads(told.read_text())["text"]


def runs_of(home: Home) -> list[DagsterRun]:
    with DagsterInstance.from_ref(instance_of(home).get_ref()) as instance:
        return list(instance.get_runs())


def instance_of(home: Home) -> DagsterInstance:
    return DagsterInstance.from_config(str(home.settings.dagster_home))


# Under the daemon ---------------------------------------------------------------------------------


def definitions_of(home: Home, **settings: Any) -> Definitions:
    return build_defs(data=home.data, input=home.input, models="none", **settings)


def landing_of(home: Home, instance: DagsterInstance, tags: dict[str, str]) -> DagsterRun:
    """A run of landing alone, as the daemon has it."""
    result = (
        definitions_of(home)
        .resolve_job_def(DAILY_REFRESH)
        .execute_in_process(
            op_selection=["landing"],
            partition_key="2018-01-01",
            instance=instance,
            raise_on_error=False,
            run_config={"loggers": {"console": {}}},
            tags=tags,
        )
    )
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    return run


def test_a_failed_run_is_told_by_the_sensor_unless_somebody_else_tells_it_or_it_is_tried_again(
    copied_home: Home,
) -> None:
    (inbox(copied_home) / "transactions.parquet").unlink()
    home = copied_home
    with DagsterInstance.ephemeral() as instance:
        run = landing_of(home, instance, {})
        alert = alert_of(instance, run, home.settings, home.source)
        assert alert is not None and alert.kind == "failed" and alert.run_id == run.run_id
        assert MISSING in alert.reasons[0] and "as of 2018-01-01 failed" in alert.subject
        for tags in (dict(STARTED_BY_COMMAND), {"dagster/will_retry": "true"}):
            run = landing_of(home, instance, tags)
            assert alert_of(instance, run, home.settings, home.source) is None


def test_a_run_that_is_whole_is_not_told(copied_home: Home) -> None:
    home = copied_home
    with DagsterInstance.ephemeral() as instance:
        run = landing_of(home, instance, {})
        assert run.is_success and broken_promises(instance, run.run_id) == []
        assert alert_of(instance, run, home.settings, home.source) is None


def test_a_green_run_that_skipped_what_it_promised_is_told(small_home: Home) -> None:
    """A step that yields one of its two assets leaves the other, and what follows it, out: the run is green."""

    @multi_asset(specs=[AssetSpec("given"), AssetSpec("left_out", skippable=True)])
    def two() -> Iterator[MaterializeResult[None]]:
        yield MaterializeResult(asset_key="given")

    @asset(deps=["left_out"])
    def following() -> None:
        raise AssertionError("it was skipped")

    definitions = Definitions([two, following], jobs=[define_asset_job("both")])
    with DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("both").execute_in_process(instance=instance)
        assert result.success
        assert broken_promises(instance, result.run_id) == [AssetKey("following"), AssetKey("left_out")]
        run = instance.get_run_by_id(result.run_id)
        assert run is not None
        alert = alert_of(instance, run, small_home.settings, small_home.source)
    assert alert is not None and alert.kind == "incomplete"
    assert "promised following, left_out and did not materialize them" in alert.reasons[0]


def test_a_refresh_that_never_came_is_told_once(copied_home: Home, server: Server) -> None:
    """Every minute a refresh is due, and a version is late a second after that."""
    sensors = definitions_of(
        copied_home, schedule_cron="* * * * *", refresh_grace_minutes=1 / 60, alert_webhook=server.address
    )
    missed = sensors.resolve_sensor_def("missed_refresh_sensor")
    published = copied_home.store.current()
    assert published is not None
    backdate(copied_home, timedelta(hours=1))
    with DagsterInstance.ephemeral() as instance:
        context = build_sensor_context(instance=instance, cursor=None)
        told = missed.evaluate_tick(context)
        again = missed.evaluate_tick(build_sensor_context(instance=instance, cursor=told.cursor))
    assert told.cursor == published.version and again.skip_message == "It was told already."
    (alert,) = server.received
    assert alert["kind"] == "missed" and "make refresh" in alert["reasons"][0] and "late" in alert["readers_have"]

    with DagsterInstance.ephemeral() as instance:
        daily = definitions_of(copied_home).resolve_sensor_def("missed_refresh_sensor")
        assert daily.evaluate_tick(build_sensor_context(instance=instance)).cursor is None


def backdate(home: Home, age: timedelta) -> None:
    """As if the current version had been published earlier: its description, sealed anew."""
    from dataclasses import replace

    from orchestration.resources.publication import _to_json

    publication = home.store.current()
    assert publication is not None
    path = home.store.root / "versions" / f"{publication.version}.json"
    path.chmod(0o644)
    path.write_text(_to_json(replace(publication, published_at=datetime.now(UTC) - age)))


def test_a_schedule_that_cannot_start_tells_so(copied_home: Home, server: Server) -> None:
    from dagster import build_schedule_context

    definitions = definitions_of(copied_home, alert_webhook=server.address)
    (inbox(copied_home) / "transactions.parquet").unlink()
    schedule = definitions.resolve_schedule_def("daily_refresh_schedule")
    with (
        DagsterInstance.ephemeral() as instance,
        pytest.raises(Exception, match="evaluation of schedule daily_refresh_schedule"),
    ):
        schedule.evaluate_tick(
            build_schedule_context(
                instance=instance,
                repository_def=definitions.get_repository_def(),
                scheduled_execution_time=datetime(2026, 1, 2, 10, tzinfo=UTC),
            )
        )
    (alert,) = server.received
    assert MISSING in alert["text"] and "could not start" in alert["subject"]


def test_readers_see_how_old_their_version_is(small_home: Home, tmp_path: Path) -> None:
    ((version, age, is_fresh),) = small_home.query("select version, age_hours, is_fresh from marts.freshness")
    published = small_home.store.current()
    assert published is not None and version == published.version
    assert 0 <= age < 24 and is_fresh in (True, False)
    ((due, said),) = small_home.query("select distinct fresh_until, published_at from marts.publication")
    assert timedelta(0) < due - said <= timedelta(hours=27)
    # Under another name, as somebody attaches it.
    import duckdb

    copy = shutil.copyfile(small_home.store.current_file(), tmp_path / "copied.duckdb")
    with duckdb.connect() as connection:
        connection.execute(f"attach '{copy}' as customers (read_only)")
        assert connection.execute("select version from customers.marts.freshness").fetchall() == [(version,)]
