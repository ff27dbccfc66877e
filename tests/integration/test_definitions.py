"""The code location: its graph, its job, its schedule, and what loading it does not do."""

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from dagster import AssetKey, DagsterInstance, build_schedule_context
from dagster._core.definitions.definitions_class import Definitions

from orchestration.definitions import build_defs
from orchestration.settings import PROJECT_ROOT
from tests.pipeline import Home

GRAPH = Path(__file__).with_name("asset_graph.json")


@pytest.fixture(scope="module")
def definitions(small_home: Home) -> Definitions:
    return build_defs(data=small_home.data, input=small_home.input)


def test_the_asset_graph_is_the_one_reviewed(definitions: Definitions) -> None:
    """After a wanted change: `python -m tests.integration.test_definitions` writes the file anew."""
    assert graph(definitions) == json.loads(GRAPH.read_text()), "the lineage has changed; review and write it anew"


def graph(definitions: Definitions) -> dict[str, dict[str, object]]:
    """Each asset with its group, its parents, whether it keeps history, and how many checks block on it."""
    assets = definitions.resolve_asset_graph()
    return {
        key.to_user_string(): {
            "group": assets.get(key).group_name,
            "parents": sorted(parent.to_user_string() for parent in assets.get(key).parent_keys),
            "partitioned": assets.get(key).is_partitioned,
            "blocking_checks": sum(assets.get(check).blocking for check in assets.get_check_keys_for_assets({key})),
        }
        for key in sorted(assets.get_all_asset_keys())
    }


def test_every_asset_is_owned_described_and_of_a_kind(definitions: Definitions) -> None:
    assets = definitions.resolve_asset_graph()
    offenders = [
        key.to_user_string()
        for key in assets.materializable_asset_keys
        if not (assets.get(key).owners and assets.get(key).description and assets.get(key).kinds)
    ]
    assert offenders == []


def test_the_schedule_refreshes_the_day_after_the_newest_order(definitions: Definitions) -> None:
    schedule = definitions.resolve_schedule_def("daily_refresh_schedule")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 5 * * *", "America/New_York")
    with DagsterInstance.ephemeral() as instance:
        tick = schedule.evaluate_tick(
            build_schedule_context(
                instance=instance,
                repository_def=definitions.get_repository_def(),
                scheduled_execution_time=datetime(2026, 1, 2, 5, tzinfo=ZoneInfo("America/New_York")),
            )
        )
    assert [request.partition_key for request in tick.run_requests or []] == ["2018-01-01"]


def test_cron_and_zone_of_the_schedule_are_settings(small_home: Home) -> None:
    defs = build_defs(data=small_home.data, schedule_cron="30 6 * * 1-5", schedule_time_zone="Europe/Berlin")
    schedule = defs.resolve_schedule_def("daily_refresh_schedule")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 6 * * 1-5", "Europe/Berlin")


def test_definitions_are_fresh_every_time(small_home: Home) -> None:
    first, second = (build_defs(data=small_home.data) for _ in range(2))
    assert first is not second
    assert first.resolve_job_def("daily_refresh") is not second.resolve_job_def("daily_refresh")


def test_loading_the_code_location_opens_no_database_and_imports_no_great_expectations(small_home: Home) -> None:
    script = (
        "import sys, duckdb\n"
        "def refuse(*a, **k): raise AssertionError('a database was opened')\n"
        "duckdb.connect = refuse\n"
        "from orchestration.definitions import defs\n"
        "assert not any(name.split('.')[0] == 'great_expectations' for name in sys.modules)\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT_ROOT,
        env=small_home.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr


def test_a_missing_manifest_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="make manifest"):
        build_defs(data=tmp_path)


def test_publication_depends_on_every_mart(definitions: Definitions) -> None:
    assets = definitions.resolve_asset_graph()
    marts = {key for key in assets.materializable_asset_keys if key.path[0] == "marts"}
    assert assets.get(AssetKey(["publication", "published_marts"])).parent_keys == marts


if __name__ == "__main__":
    GRAPH.write_text(json.dumps(graph(build_defs()), indent=2) + "\n")
