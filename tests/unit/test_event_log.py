"""The event log keeps its engines, and what it logs is what the stock one would."""

from pathlib import Path

import pytest
from dagster import DagsterInstance
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from sqlalchemy import create_engine

from orchestration.resources import event_log


def test_an_engine_per_file_and_not_per_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(sqlite_event_log), "create_engine", create_engine)
    event_log.keep_engines()
    event_log._engine.cache_clear()
    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        for number in range(5):
            for run_id in ("one", "two"):
                instance.report_engine_event(f"event {number} of {run_id}", run_id=run_id, job_name="job")
        for run_id in ("one", "two"):
            said = [entry.get_dagster_event().message for entry in instance.all_logs(run_id)]
            assert said == [f"event {number} of {run_id}" for number in range(5)]
        assert list(tmp_path.rglob("index.db-wal")), "a connection is the last to leave again"
        instance.wipe()
        assert not instance.all_logs("one")
        instance.report_engine_event("after", run_id="one", job_name="job")
        assert len(instance.all_logs("one")) == 1
    found = event_log._engine.cache_info()
    assert found.misses <= 3 and found.hits > 10, "Dagster does not ask for engines there any more"
