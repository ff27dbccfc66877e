"""Settings: every value that cannot be used is refused, in words that say what was given, expected, and to do."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ml.value_specification import value_specification
from orchestration.dbt_project import dbt_vars, thresholds
from orchestration.models import ChurnModel, CustomerValue, models
from orchestration.settings import VALUE_WINDOWS, WINDOWS, Settings, SettingsError, known_sources, load_settings
from orchestration.sources import load_source

NOBODY = 65534


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings' defaults, whatever the environment of the tests says."""
    for name in os.environ:
        if name.startswith("CUSTOMER360_") or name in {"SOURCE", "INPUT", "AS_OF"}:
            monkeypatch.delenv(name)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may write anywhere, whatever the permissions: be nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("SOURCE", "nowhere", ["unknown source 'nowhere'", "complete_journey", "folder of dbt_project/models/staging"]),
        ("CUSTOMER360_SOURCE", "../core", ["unknown source '../core'", "complete_journey"]),
        ("AS_OF", "tomorrow", ["'tomorrow' is not a day", "YYYY-MM-DD", "2018-01-01"]),
        ("AS_OF", "2018-02-30", ["'2018-02-30' is not a day", "YYYY-MM-DD"]),
        ("CUSTOMER360_AS_OF", "01.02.2018", ["'01.02.2018' is not a day", "YYYY-MM-DD"]),
        ("CUSTOMER360_SCHEDULE_TIME_ZONE", "Mars/Base", ["'Mars/Base' is not a time zone", "America/New_York"]),
        ("CUSTOMER360_SCHEDULE_TIME_ZONE", "../etc", ["'../etc' is not a time zone", "America/New_York"]),
        ("CUSTOMER360_SCHEDULE_TIME_ZONE", "America", ["'America' is not a time zone", "America/New_York"]),
        ("CUSTOMER360_KEEP_VERSIONS", "0", ["'0'", "greater than or equal to 1"]),
        ("CUSTOMER360_THREADS", "many", ["'many'", "valid integer"]),
        ("CUSTOMER360_MIN_VOLUME_RATIO", "-1", ["'-1'", "greater than or equal to 0"]),
        ("CUSTOMER360_MAX_NULL_SHARE", "1.5", ["'1.5'", "less than or equal to 1"]),
        ("CUSTOMER360_MAX_DAYS_WITHOUT_ORDERS", "0", ["'0'", "greater than or equal to 1"]),
    ],
)
def test_a_value_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: list[str]) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    for word in [f"CUSTOMER360_{name.removeprefix('CUSTOMER360_')}", *words]:
        assert word in str(refusal.value)


def test_every_wrong_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE", "nowhere")
    monkeypatch.setenv("AS_OF", "tomorrow")
    with pytest.raises(SettingsError, match=r"nowhere.*; .*tomorrow"):
        load_settings()


def test_short_and_long_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AS_OF", "CUSTOMER360_AS_OF"):
        monkeypatch.setenv(name, "2017-06-01")
        assert load_settings().as_of == date(2017, 6, 1)
        monkeypatch.delenv(name)
    for name in ("INPUT", "CUSTOMER360_INPUT"):
        monkeypatch.setenv(name, str(tmp_path))
        assert load_settings().input == tmp_path
        monkeypatch.delenv(name)
    monkeypatch.setenv("SOURCE", known_sources()[0])
    assert load_settings().source == known_sources()[0]

    monkeypatch.setenv("AS_OF", "2017-06-01")
    monkeypatch.setenv("CUSTOMER360_AS_OF", "2017-06-02")
    assert load_settings().as_of == date(2017, 6, 2)


def test_an_empty_value_is_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SOURCE", "INPUT", "AS_OF"):  # make exports them, given or not
        monkeypatch.setenv(name, "")
    assert load_settings() == load_settings(source="complete_journey", input=None, as_of=None)


def test_how_libraries_behave_is_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    load_settings()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "20"


def test_folders_are_absolute_wherever_the_command_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INPUT", "in")
    monkeypatch.setenv("CUSTOMER360_DATA", "state")
    settings = load_settings()
    assert settings.input == tmp_path / "in"
    assert settings.raw_dir == tmp_path / "state" / "raw" / "complete_journey"


def test_dbt_gets_the_same_warehouse_and_bounds(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path, threads=3, memory_limit="1GB")
    environment, config = settings.dbt_environment(), settings.duckdb_config()
    assert environment["CUSTOMER360_WAREHOUSE"] == str(settings.warehouse_path)
    assert environment["CUSTOMER360_DBT_THREADS"] == config["threads"] == "3"
    assert environment["CUSTOMER360_MEMORY_LIMIT"] == config["memory_limit"] == "1GB"
    assert environment["CUSTOMER360_TEMP_DIRECTORY"] == config["temp_directory"] == str(settings.temp_dir)


def assert_not_writable(settings: Settings) -> None:
    with pytest.raises(SettingsError) as refusal:
        settings.make_writable()
    for word in (f"cannot write to {settings.data}", "CUSTOMER360_DATA", "mend the permissions"):
        assert word in str(refusal.value)


def test_a_file_in_the_place_of_the_data_folder(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    assert_not_writable(load_settings(data=tmp_path / "data"))
    assert_not_writable(load_settings(data=tmp_path / "data" / "below"))


@pytest.mark.parametrize("part", ["data", "raw_dir", "published_dir", "dagster_home", "temp_dir"])
def test_a_folder_that_takes_no_file(part: str) -> None:
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        settings = load_settings(data=Path(folder) / "data")
        settings.make_writable()
        for path in settings.data, *settings.data.rglob("*"):
            path.chmod(0o777)
        getattr(settings, part).chmod(0o555)
        with without_privileges():
            assert_not_writable(settings)


def test_a_data_folder_that_can_be_written_stays_clean(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path / "data")
    settings.make_writable()
    settings.make_writable()
    assert [path for path in settings.data.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("CUSTOMER360_ACTIVITY_WINDOW_DAYS", "0", ["'0'", "greater than or equal to 1"]),
        ("CUSTOMER360_PREDICTION_WINDOW_DAYS", "four weeks", ["'four weeks'", "valid integer"]),
        ("CUSTOMER360_HISTORY_DAYS", "1000", ["'1000'", "less than or equal to 728"]),
        ("CUSTOMER360_VALUE_WINDOW_DAYS", "90", ["90 days cannot be used", "14, 28, 56, 84, 182"]),
    ],
)
def test_a_window_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: list[str]) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    for word in [name, *words]:
        assert word in str(refusal.value)


@pytest.mark.parametrize(
    "windows, words",
    [
        ({"activity_window_days": 200}, ["ACTIVITY_WINDOW_DAYS is 200", "CUSTOMER360_CHURNED_AFTER_DAYS 182"]),
        ({"churned_after_days": 56}, ["ACTIVITY_WINDOW_DAYS is 56", "CUSTOMER360_CHURNED_AFTER_DAYS 56"]),
        ({"history_days": 728}, ["HISTORY_DAYS is 728", "variable feature_span_days 728"]),
        ({"prediction_window_days": 420}, ["PREDICTION_WINDOW_DAYS is 420", "KEEP_SCORE_DAYS 400", "Keep them longer"]),
    ],
)
def test_windows_that_contradict_each_other(windows: dict[str, int], words: list[str]) -> None:
    settings = load_settings(**windows)
    with pytest.raises(SettingsError) as refusal:
        dbt_vars(settings, load_source("complete_journey"))
    for word in words:
        assert word in str(refusal.value)


def test_windows_that_are_set_reach_sql_and_python_alike() -> None:
    source = load_source("complete_journey")
    assert set(json.loads(dbt_vars(load_settings(), source))) == {"source", "business_time_zone", "macros_hash"}
    assert thresholds(load_settings()) == thresholds()
    assert set(WINDOWS.values()) <= set(thresholds())

    chosen = {"activity_window_days": 84, "prediction_window_days": 42, "value_window_days": 182}
    settings = load_settings(**chosen)
    for name, days in chosen.items():
        assert json.loads(dbt_vars(settings, source))[WINDOWS[name]] == days
        assert thresholds(settings)[WINDOWS[name]] == days
    churn, *_, value, _, _ = models(settings)
    assert isinstance(churn, ChurnModel) and isinstance(value, CustomerValue)
    assert churn.specification().activity_window_days == 84
    assert churn.specification().window_days == 42
    assert value.specification().window_days == 182


def test_every_value_window_has_its_feature() -> None:
    for days in VALUE_WINDOWS:
        assert value_specification(days).last_window_column == f"net_sales_{days}d"
