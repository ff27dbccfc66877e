"""Settings of a refresh: typed, with a reason each, read from the environment in this one place.

Nothing else in the project reads the environment. `SOURCE`, `INPUT` and `AS_OF` are the short names that the
commands take; every setting also has its long name, `CUSTOMER360_<NAME>`.
"""

import os
import re
import shlex
from collections.abc import Mapping
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
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
# How libraries behave here, unless something else is set.
LIBRARY_DEFAULTS = {
    # Threads of LightGBM hardly spin while they wait for each other: beside another job on the same two cores it trains
    # four times as fast so, alone at most a tenth slower (LightGBM 4.7).
    "GOMP_SPINCOUNT": "5000",
    # A registry that does not answer is given up on within seconds: the champion scores without it. Files come without
    # bars of progress between the lines of a log.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


# What may be read instead of a folder, and how its address is spelled.
DATABASES = {
    "postgresql": "postgresql://user@host:5432/database",
    "mysql": "mysql://user@host:3306/database",
    "sqlite": "sqlite:///path/of/the/file",
}
SQLITE_SUFFIXES = (".sqlite", ".sqlite3", ".db")

MODELS = ("churn", "response", "demand", "value", "segments", "recommendations")

# Windows that the company may set, each with the variable of the dbt project that it stands for.
WINDOWS = {
    "activity_window_days": "dormant_after_days",
    "prediction_window_days": "churn_window_days",
    "churned_after_days": "churned_after_days",
    "new_customer_days": "new_customer_days",
    "value_window_days": "value_window_days",
    "history_days": "feature_history_days",
}
# Customer value is told beside the net sales of a window of the same length, so there has to be such a feature.
VALUE_WINDOWS = (14, 28, 56, 84, 182)
# Features lie on a grid that reaches two years back: a longer window would never close within it.
WindowDays = Annotated[int, Field(ge=1, le=728)]


class SettingsError(ValueError):
    """A setting that cannot be used: what was given, what was expected, what to do."""


def known_sources() -> list[str]:
    """Names of the sources: the folders of staging SQL."""
    return sorted(path.parent.name for path in STAGING_DIR.glob("*/_*__sources.yml"))


def _checked_url(url: str) -> str:
    """The address of a database, in the spelling that the drivers take.

    Raises:
        ValueError: It is none. What was given is not said, as it may hold a password.
    """
    scheme, _, rest = url.partition("://")
    scheme = {"postgres": "postgresql", "mariadb": "mysql"}.get(scheme, scheme)
    if scheme not in DATABASES:
        raise ValueError(
            f"{scheme!r} is no kind of database that can be read; give a folder, or an address that begins with"
            f" {', '.join(f'{kind}://' for kind in DATABASES)}"
        )
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        is_whole = parts.path.strip("/") and not parts.fragment and (parts.port is None or parts.hostname)
    except ValueError:
        is_whole = False
    if not is_whole or (scheme == "sqlite" and parts.netloc):
        form = DATABASES[scheme]
        raise ValueError(
            f"not the address of a database; give it as {form}. In a user's name or password, characters other than"
            " letters and digits are spelled as % and their code; better, give the password in"
            " CUSTOMER360_INPUT_PASSWORD"
        )
    return f"{scheme}://{rest}"


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
    input_address: Path | SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("CUSTOMER360_INPUT", "INPUT", "input"),
        description="Folder with the source's files, or a database (a secret: its address may hold a password);"
        " without one, the source's installed package.",
    )
    input_password: SecretStr | None = Field(
        None, description="Password for the database that INPUT names, kept out of its address."
    )
    input_mapping: Path | None = Field(
        None, description="YAML file that says how the database's tables become the source's; without one, by name."
    )
    input_read: Literal["changes", "all"] = Field(
        "changes",
        description="Whether tables with a watermark are read from there on, or once from the start: rows that were"
        " deleted in the database show in no watermark.",
    )
    input_overlap_minutes: Annotated[float, Field(ge=0)] = Field(
        60,
        description="How far behind a watermark reading begins again: a row is stamped before its transaction is seen.",
    )
    as_of: date | None = Field(
        None,
        validation_alias=_either("AS_OF"),
        description="Logical day of the refresh; without one, the day after the newest order.",
    )

    time_zone: str | None = Field(
        None, description="Zone in which a business day begins and ends; without one, as the source declares."
    )

    personal_data_key: SecretStr | None = Field(
        None,
        description="Key of the hashes that stand for e-mail addresses and telephone numbers; none without one.",
    )
    country: str | None = Field(
        None, description="Country of telephone numbers that do not say theirs: two letters, as ISO 3166 has them."
    )

    activity_window_days: WindowDays | None = Field(
        None,
        description="Days without an order after which a customer is dormant, and churn is not asked any more; without"
        " one, as the dbt project has it. So are the windows below. `make check-data` proposes what fits the data.",
    )
    prediction_window_days: WindowDays | None = Field(
        None, description="An active customer without an order in so many coming days churns."
    )
    churned_after_days: WindowDays | None = Field(
        None, description="Days without an order after which a customer counts as churned; more than make one dormant."
    )
    new_customer_days: WindowDays | None = Field(
        None, description="Days from the first order on in which a customer is new."
    )
    value_window_days: WindowDays | None = Field(
        None, description=f"Days over which a customer's value is forecast: {', '.join(map(str, VALUE_WINDOWS))}."
    )
    history_days: WindowDays | None = Field(None, description="Days from the first order to the first cut-off.")

    schedule_cron: str = Field("0 5 * * *", description="When the daily refresh starts.")
    schedule_time_zone: str | None = Field(
        None, description="Zone of the schedule; without one, the source's business time zone."
    )
    first_as_of: date | None = Field(
        None,
        description="First day that can be refreshed, and that the Dagster UI offers; else as the source declares.",
    )

    housekeeping_cron: str = Field("0 3 * * 0", description="When what is old is removed: before Sunday's refresh.")
    refresh_grace_minutes: Annotated[float, Field(gt=0)] = Field(
        120, description="How long after its time a refresh may be published before it counts as missed."
    )
    alert_command: str | None = Field(
        None, description="Command that a failed, blocked or missed refresh runs; the alert is JSON on its input."
    )
    alert_webhook: SecretStr | None = Field(
        None, description="Address that such an alert is posted to as JSON; a secret, so it is in no log."
    )
    alert_timeout_seconds: Annotated[float, Field(gt=0, le=300)] = Field(
        10, description="How long the command and the address may each take; a refresh waits no longer for them."
    )

    dagster_storage_url: SecretStr | None = Field(
        None,
        description="PostgreSQL for Dagster's records, for services on several processes; without one, SQLite files.",
    )
    host: str = Field("127.0.0.1", description="Address that the UI and the code location listen on: loopback.")
    code_host: str = Field("127.0.0.1", description="Where webserver and daemon find the code location.")

    keep_versions: Annotated[int, Field(ge=1)] = Field(
        7, description="Published versions that stay for readers and for rolling back: a week."
    )
    keep_raw_loads: Annotated[int, Field(ge=1)] = Field(
        3, description="Loads of each source file whose raw files stay; those in force are the newest."
    )
    keep_run_days: Annotated[int, Field(ge=1)] = Field(
        90, description="Days that runs, their logs and checks, and unused fits stay: a quarter to look back on."
    )
    keep_score_days: Annotated[int, Field(ge=100)] = Field(
        400, description="Days of score files that stay: a year, and outcomes come up to 84 days after a score."
    )
    keep_model_versions: Annotated[int, Field(ge=2)] = Field(
        30, description="Newest versions of a model that stay in the registry, beside champions and what has scored."
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

    retrain: Literal["when_due", "always"] = Field(
        "when_due",
        description="Whether a refresh trains every model anew, or those whose age or monitoring asks for it: what"
        " models learn from comes about once a week, so that in between nothing new can be learned.",
    )
    max_model_age_days: Annotated[int, Field(ge=1)] = Field(
        7, description="Days after which a model is trained anew: cut-offs and weeks of sales are a week apart."
    )
    warn_drift: Annotated[float, Field(gt=0)] = Field(
        0.25,
        description="Population stability index, beyond chance, of a feature against the rows that taught last, or of"
        " scores against the day before; .25 is called a shift (Siddiqi 2006). Warns, and asks for training.",
    )
    block_drift: Annotated[float, Field(gt=0)] = Field(
        1, description="The same, beyond which nothing is published: such features or scores are most likely broken."
    )
    warn_decay: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.25, description="Share of the skill shown on the hold-out that outcomes may miss. Warns, asks for training."
    )
    block_decay: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.75, description="The same, beyond which nothing is published: little better than no model."
    )

    max_class_change: Annotated[float, Field(gt=1)] = Field(
        3,
        description="Customers who change class, times the median of earlier pairs of days as far apart; more warn that"
        " a model or a rule decays.",
    )

    @model_validator(mode="after")
    def _warns_before_it_blocks(self) -> Self:
        for name in ("drift", "decay"):
            warn, block = getattr(self, f"warn_{name}"), getattr(self, f"block_{name}")
            if warn > block:
                raise ValueError(
                    f"CUSTOMER360_WARN_{name.upper()} {warn:g} is above CUSTOMER360_BLOCK_{name.upper()} {block:g};"
                    " what blocks has to warn first"
                )
        return self

    @field_validator("models")
    @classmethod
    def _models_are_known(cls, models: str) -> str:
        unknown = sorted(set() if models == "none" else set(models.split(",")) - set(MODELS))
        if unknown:
            raise ValueError(f"unknown model {', '.join(unknown)}; give some of {', '.join(MODELS)}, or none")
        return models

    @field_validator("value_window_days")
    @classmethod
    def _value_has_a_window_before(cls, days: int | None) -> int | None:
        if days is not None and days not in VALUE_WINDOWS:
            raise ValueError(
                f"{days} days cannot be used: net sales of a customer are kept for windows of"
                f" {', '.join(map(str, VALUE_WINDOWS))} days; give one of these"
            )
        return days

    @field_validator("alert_command")
    @classmethod
    def _command_can_be_split(cls, command: str | None) -> str | None:
        try:
            words = shlex.split(command or "")
        except ValueError as error:
            raise ValueError(f"{command!r} cannot be split into words ({error}); close its quotes") from None
        return command if words else None

    @field_validator("dagster_storage_url")
    @classmethod
    def _storage_is_postgresql(cls, url: SecretStr | None) -> SecretStr | None:
        # The driver is named as SQLAlchemy would take another one than Dagster's by default.
        if url is not None and not url.get_secret_value().startswith("postgresql+psycopg2://"):
            raise ValueError(
                "not the address of a database; give postgresql+psycopg2://user:password@host:port/database"
            )
        return url

    @field_validator("alert_webhook")
    @classmethod
    def _webhook_is_an_address(cls, webhook: SecretStr | None) -> SecretStr | None:
        try:
            parts = urlsplit(webhook.get_secret_value() if webhook else "http://nowhere")
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.netloc:
            # What was given is not said: it may be a secret with one letter missing.
            raise ValueError("not an address; give one that begins with https:// or http://")
        return webhook

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

    @field_validator("personal_data_key")
    @classmethod
    def _key_cannot_be_guessed(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(key.get_secret_value()) < 32:
            raise ValueError("shorter than 32 characters, so it could be guessed; make one with: openssl rand -hex 32")
        return key

    @field_validator("country")
    @classmethod
    def _country_has_two_letters(cls, country: str | None) -> str | None:
        if country is not None and not re.fullmatch("[A-Z]{2}", country):
            raise ValueError(f"{country!r} is not a country's code; give its two capital letters, for example DE")
        return country

    @field_validator("time_zone", "schedule_time_zone")
    @classmethod
    def _zone_is_known(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (KeyError, ValueError, OSError):
                raise ValueError(f"{value!r} is not a time zone; for example America/New_York") from None
        return value

    @field_validator("input_address", mode="before")
    @classmethod
    def _input_is_a_folder_or_a_database(cls, value: Any) -> Any:
        if not isinstance(value, str | Path):
            return value
        path = Path(value).expanduser()
        if "://" not in str(value):
            is_file = path.suffix in SQLITE_SUFFIXES and not path.is_dir()
            return SecretStr(f"sqlite://{quote(str(path.resolve()))}") if is_file else path
        return SecretStr(_checked_url(str(value)))

    @field_validator("data", "input_address", "input_mapping")
    @classmethod
    def _absolute(cls, path: Path | SecretStr | None) -> Path | SecretStr | None:
        return path.expanduser().resolve() if isinstance(path, Path) else path

    @model_validator(mode="after")
    def _mapping_is_of_a_database(self) -> Self:
        if self.input_mapping is not None and self.database is None:
            raise ValueError("CUSTOMER360_INPUT_MAPPING is for a database, and INPUT names none; leave it out")
        return self

    @property
    def database(self) -> SecretStr | None:
        """Address of the database that INPUT names, if it names one."""
        return self.input_address if isinstance(self.input_address, SecretStr) else None

    @property
    def input(self) -> Path | None:
        """Folder whose files land: the one given, or the one that a database is read into."""
        return self.data / "inbox" / self.source if isinstance(self.input_address, SecretStr) else self.input_address

    @property
    def windows(self) -> dict[str, int]:
        """The windows that are set, as variables of the dbt project."""
        given = {variable: getattr(self, name) for name, variable in WINDOWS.items()}
        return {variable: days for variable, days in given.items() if days is not None}

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
    def fits_dir(self) -> Path:
        """What was fitted for a campaign or found for a week, of this source; what is not used is pruned."""
        return self.data / "fits" / self.source

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
            # Writing every step down takes a fifth of a small refresh; what fails is in dbt's results.
            "DBT_LOG_LEVEL_FILE": "none",
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
    os.environ.update({name: value for name, value in LIBRARY_DEFAULTS.items() if name not in os.environ})
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError("; ".join(_problem(issue) for issue in error.errors())) from None


def _problem(issue: Mapping[str, Any]) -> str:
    """One value that cannot be used: under which name, what was given, what was expected."""
    text = str(issue["msg"])
    if not issue["loc"]:  # of two settings together, which are named
        return text.removeprefix("Value error, ")
    name = str(issue["loc"][0]).upper().removeprefix("CUSTOMER360_")
    if issue["type"] == "value_error":  # of a validator above, which names the value itself
        return f"CUSTOMER360_{name}: {text.removeprefix('Value error, ')}"
    return f"CUSTOMER360_{name}: {issue['input']!r} cannot be used: {text[0].lower()}{text[1:]}"
