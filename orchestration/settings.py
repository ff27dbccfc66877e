"""Settings of a refresh: typed, with a reason each, read from the environment in this one place.

Nothing else in the project reads the environment. `SOURCE`, `INPUT` and `AS_OF` are the short names that the
commands take; every setting also has its long name, `CUSTOMER360_<NAME>`.
"""

import os
from collections.abc import Mapping
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_ROOT = Path(__file__).resolve().parent.parent
DBT_PROJECT_DIR = PROJECT_ROOT / "dbt_project"
STAGING_DIR = DBT_PROJECT_DIR / "models" / "staging"

# Nothing leaves the machine: each tool's own switch for telemetry, set before the tool is imported.
TELEMETRY_OFF = {
    "DO_NOT_TRACK": "1",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
# A registry that does not answer is given up on within seconds: the champion scores without it. What is set stays.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


MODELS = ("churn", "response", "demand", "value", "segments")


class SettingsError(ValueError):
    """A setting that cannot be used: what was given, what was expected, what to do."""


def known_sources() -> list[str]:
    """Names of the sources: the folders of staging SQL."""
    return sorted(path.parent.name for path in STAGING_DIR.glob("*/_*__sources.yml"))


def _either(short: str) -> AliasChoices:
    return AliasChoices(f"CUSTOMER360_{short}", short)


class Settings(BaseSettings):
    """What a refresh is told from outside."""

    model_config = SettingsConfigDict(
        env_prefix="CUSTOMER360_", env_ignore_empty=True, extra="forbid", populate_by_name=True
    )

    data: Path = Field(PROJECT_ROOT / "data", description="Folder of all state.")
    source: str = Field(
        "complete_journey",
        validation_alias=_either("SOURCE"),
        description="Folder of staging SQL that feeds the core.",
    )
    input: Path | None = Field(
        None,
        validation_alias=_either("INPUT"),
        description="Folder with the source's files; without one, the source's installed package.",
    )
    as_of: date | None = Field(
        None,
        validation_alias=_either("AS_OF"),
        description="Logical day of the refresh; without one, the day after the newest order.",
    )

    schedule_cron: str = Field("0 5 * * *", description="When the daily refresh starts.")
    schedule_time_zone: str | None = Field(
        None, description="Zone of the schedule; without one, the source's business time zone."
    )
    first_as_of: date = Field(date(2017, 1, 2), description="First day that the Dagster UI offers as a partition.")

    keep_versions: Annotated[int, Field(ge=1)] = Field(
        7, description="Published versions that stay for readers and for rolling back: a week."
    )
    memory_limit: Annotated[str, Field(pattern=r"^\d+(\.\d+)? ?[KMGT]i?B$")] = Field(
        "2GB", description="DuckDB's memory; it spills to disk beyond. Leaves room beside Python."
    )
    threads: Annotated[int, Field(ge=1)] = Field(os.cpu_count() or 1, description="Threads of DuckDB and of dbt.")
    lock_timeout_seconds: Annotated[float, Field(ge=0)] = Field(
        0, description="How long a refresh waits for another one to end before it gives up."
    )

    max_null_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.005,
        description="Share of NULLs in a landed column that is not declared nullable: such rows go to quarantine.",
    )
    min_volume_ratio: Annotated[float, Field(ge=0)] = Field(
        0.8, description="Rows of a table against its last good load; fewer mean a file cut short."
    )
    max_days_without_orders: Annotated[int, Field(ge=1)] = Field(
        7, description="Days between the newest order and the refreshed day; more mean that data is missing."
    )

    models: str = Field(
        ",".join(MODELS),
        description="Models that a refresh trains, between commas, or none; the scores of others are NULL.",
    )
    mlflow_tracking_uri: str | None = Field(
        None,
        validation_alias=AliasChoices("CUSTOMER360_MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_URI"),
        description="Model registry; without one, a SQLite file in the folder of all state.",
    )
    max_null_share_rise: Annotated[float, Field(ge=0, le=1)] = Field(
        0.2,
        description="Rise of a feature's share of NULLs against the cut-off before; more mean that data is missing.",
    )
    max_feature_drift: Annotated[float, Field(gt=0)] = Field(
        0.5,
        description="Population stability index of a feature against the cut-off before, beyond chance; .25 is called a"
        " shift, and the sample shows up to .3 from week to week.",
    )
    max_sales_change: Annotated[float, Field(gt=1)] = Field(
        3, description="Net sales of the newest week, times or divided by the median of eight weeks before."
    )

    max_class_change: Annotated[float, Field(gt=1)] = Field(
        3,
        description="Customers who change class, times the median of earlier pairs of days as far apart; more warn that"
        " a model or a rule decays.",
    )

    @field_validator("models")
    @classmethod
    def _models_are_known(cls, models: str) -> str:
        unknown = sorted(set() if models == "none" else set(models.split(",")) - set(MODELS))
        if unknown:
            raise ValueError(f"unknown model {', '.join(unknown)}; give some of {', '.join(MODELS)}, or none")
        return models

    @field_validator("source")
    @classmethod
    def _source_is_known(cls, source: str) -> str:
        if source not in known_sources():
            raise ValueError(
                f"unknown source {source!r}; known are {', '.join(known_sources())}. A source is a folder"
                " of dbt_project/models/staging"
            )
        return source

    @field_validator("as_of", mode="before")
    @classmethod
    def _as_of_is_a_day(cls, value: Any) -> Any:
        if isinstance(value, str):
            try:
                return date.fromisoformat(value)
            except ValueError:
                raise ValueError(f"{value!r} is not a day; give it as YYYY-MM-DD, for example 2018-01-01") from None
        return value

    @field_validator("schedule_time_zone")
    @classmethod
    def _zone_is_known(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (KeyError, ValueError, OSError):
                raise ValueError(f"{value!r} is not a time zone; for example America/New_York") from None
        return value

    @field_validator("data", "input")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path.expanduser().resolve() if path is not None else None

    @cached_property
    def raw_dir(self) -> Path:
        """Landed files and ledger of this source."""
        return self.data / "raw" / self.source

    @cached_property
    def warehouse_path(self) -> Path:
        """The working warehouse, private to the pipeline."""
        return self.data / "warehouse.duckdb"

    @cached_property
    def published_dir(self) -> Path:
        """What readers open."""
        return self.data / "published"

    @cached_property
    def scores_dir(self) -> Path:
        """What the models of this source said."""
        return self.data / "scores" / self.source

    @cached_property
    def models_dir(self) -> Path:
        """What scores on each day, of this source."""
        return self.data / "models" / self.source

    @cached_property
    def mlflow_dir(self) -> Path:
        """The model registry, where no server is named."""
        return self.data / "mlflow"

    @cached_property
    def tracking_uri(self) -> str:
        """Where MLflow keeps its records."""
        return self.mlflow_tracking_uri or f"sqlite:///{self.mlflow_dir / 'mlflow.db'}"

    @cached_property
    def dagster_home(self) -> Path:
        """Dagster's runs and events."""
        return self.data / "dagster"

    @cached_property
    def dbt_target_dir(self) -> Path:
        """Manifest and compiled SQL; one per source, as the source decides which models there are."""
        return self.data / "dbt" / self.source

    @cached_property
    def temp_dir(self) -> Path:
        """Where DuckDB spills."""
        return self.data / "tmp"

    def duckdb_config(self) -> dict[str, str]:
        """DuckDB's bounds, for every connection of the pipeline."""
        return {
            "memory_limit": self.memory_limit,
            "threads": str(self.threads),
            "temp_directory": str(self.temp_dir),
            "preserve_insertion_order": "false",
            # Everything that is used is linked in; nothing is fetched.
            "autoinstall_known_extensions": "false",
        }

    def dbt_environment(self) -> dict[str, str]:
        """What dbt's profile reads, so that dbt and Python work on one warehouse with one set of bounds."""
        return {
            "CUSTOMER360_WAREHOUSE": str(self.warehouse_path),
            "CUSTOMER360_DBT_THREADS": str(self.threads),
            "CUSTOMER360_MEMORY_LIMIT": self.memory_limit,
            "CUSTOMER360_TEMP_DIRECTORY": str(self.temp_dir),
            "DBT_PROFILES_DIR": str(DBT_PROJECT_DIR),
        }

    def make_writable(self) -> None:
        """Makes the state folders.

        Raises:
            SettingsError: A folder cannot be made or written to.
        """
        for folder in (self.data, self.raw_dir, self.published_dir, self.dagster_home, self.temp_dir):
            probe = folder / f".writable-{os.getpid()}"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                probe.touch()
                probe.unlink()
            except OSError as error:
                raise SettingsError(
                    f"cannot write to {folder}: {error.strerror}. Give a folder that can be written to"
                    " in CUSTOMER360_DATA, or mend the permissions of this one"
                ) from error


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment, with `overrides` on top.

    Raises:
        SettingsError: A value cannot be used; the message names the setting, the value and what is expected.
    """
    os.environ.update(TELEMETRY_OFF)
    os.environ.update({name: value for name, value in PATIENCE.items() if name not in os.environ})
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError("; ".join(_problem(issue) for issue in error.errors())) from None


def _problem(issue: Mapping[str, Any]) -> str:
    """One value that cannot be used: under which name, what was given, what was expected."""
    name = str(issue["loc"][0]).upper().removeprefix("CUSTOMER360_")
    text = str(issue["msg"])
    if issue["type"] == "value_error":  # of a validator above, which names the value itself
        return f"CUSTOMER360_{name}: {text.removeprefix('Value error, ')}"
    return f"CUSTOMER360_{name}: {issue['input']!r} cannot be used: {text[0].lower()}{text[1:]}"
