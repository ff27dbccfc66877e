"""The dbt project from outside: its manifest, made when it has changed, and what every call of dbt needs."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from orchestration.settings import DBT_PROJECT_DIR, WINDOWS, Settings, SettingsError
from orchestration.sources import Source


class DbtProjectError(Exception):
    """The dbt project does not parse, or has not been parsed: what dbt says, and what to do."""


@lru_cache
def _declared_variables() -> Mapping[str, Any]:
    return dict(yaml.safe_load((DBT_PROJECT_DIR / "dbt_project.yml").read_text(encoding="utf-8"))["vars"])


def thresholds(settings: Settings | None = None) -> dict[str, Any]:
    """The project's variables: thresholds that SQL and models share.

    Args:
        settings: With the windows that differ; without any, the variables as the project declares them.

    Raises:
        SettingsError: Windows that contradict each other.
    """
    values = dict(_declared_variables())
    if settings is None or not settings.windows:
        return values
    values |= settings.windows
    names = {variable: f"CUSTOMER360_{name.upper()}" for name, variable in WINDOWS.items()}
    names["feature_span_days"] = "the variable feature_span_days"
    for shorter, longer in (
        ("dormant_after_days", "churned_after_days"),
        ("feature_history_days", "feature_span_days"),
    ):
        if values[shorter] >= values[longer]:
            raise SettingsError(
                f"{names[shorter]} is {values[shorter]}, {names[longer]} {values[longer]} days; give the second one"
                " more than the first (what is not set is as dbt_project.yml has it)"
            )
    for window in ("churn_window_days", "value_window_days"):
        if values[window] >= settings.keep_score_days:
            raise SettingsError(
                f"{names[window]} is {values[window]} days, and scores stay for CUSTOMER360_KEEP_SCORE_DAYS"
                f" {settings.keep_score_days}: what became of them could never be seen. Keep them longer"
            )
    return values


def newest_on_grid(day: date, variables: Mapping[str, Any]) -> date:
    """The newest day of the grid of cut-offs, on or before a day; `variables` are `thresholds`."""
    anchor = date.fromisoformat(str(variables["feature_grid_anchor"]))
    return day - timedelta(days=(day - anchor).days % int(variables["feature_grid_days"]))


def dbt_vars(settings: Settings, source: Source) -> str:
    """The variables of every dbt call. Settings and macros alone change them, else dbt parses what has changed only.

    Raises:
        SettingsError: Windows that contradict each other.
    """
    thresholds(settings)
    fixed = {"source": source.name, "business_time_zone": source.time_zone, "macros_hash": _macros_hash()}
    return json.dumps({**fixed, **settings.windows})


def _macros_hash() -> str:
    """A hash over the macros and over what shows raw files: SQL tells by it whether what it has kept was built so."""
    digest = hashlib.sha256()
    shows_files = [Path(__file__).with_name(f"{name}.py") for name in ("landing", "file_format")]
    for path in [*sorted((DBT_PROJECT_DIR / "macros").glob("*.sql")), *shows_files]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def dbt_executable() -> str:
    """The dbt of this environment."""
    return str(Path(sys.executable).with_name("dbt"))


def run_folder(settings: Settings) -> Path:
    """Where dbt's runs leave their results, logs and compiled SQL."""
    return settings.dbt_target_dir / "run"


def _fingerprint(settings: Settings, source: Source) -> str:
    """A hash over the project's files and the variables."""
    digest = hashlib.sha256(dbt_vars(settings, source).encode())
    folders = [DBT_PROJECT_DIR / name for name in ("models", "macros", "tests", "seeds")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    for path in sorted([*files, *DBT_PROJECT_DIR.glob("*.yml")]):
        digest.update(str(path.relative_to(DBT_PROJECT_DIR)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def prepare_manifest(settings: Settings, source: Source) -> Path:
    """The manifest of the project for a source, parsed again only where something has changed.

    Raises:
        DbtProjectError: The project does not parse.
    """
    target = settings.dbt_target_dir
    manifest, stamp = target / "manifest.json", target / "fingerprint"
    fingerprint = _fingerprint(settings, source)
    if manifest.exists() and stamp.exists() and stamp.read_text() == fingerprint:
        return manifest
    target.mkdir(parents=True, exist_ok=True)
    outcome = subprocess.run(
        [dbt_executable(), "--quiet", "parse", "--vars", dbt_vars(settings, source), "--target-path", str(target)],
        cwd=DBT_PROJECT_DIR,
        env={**os.environ, **settings.dbt_environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    if outcome.returncode != 0:
        raise DbtProjectError(f"dbt_project does not parse; mend what dbt names:\n{outcome.stdout}{outcome.stderr}")
    # dbt's runs write elsewhere, and start from what was parsed here.
    run_folder(settings).mkdir(exist_ok=True)
    shutil.copyfile(target / "partial_parse.msgpack", run_folder(settings) / "partial_parse.msgpack")
    stamp.write_text(fingerprint)
    return manifest


@lru_cache
def load_manifest(path: Path) -> Mapping[str, Any]:
    """The manifest as dbt wrote it.

    Raises:
        DbtProjectError: There is none.
    """
    if not path.exists():
        raise DbtProjectError(f"{path} is missing. Run `make manifest` once")
    return dict(json.loads(path.read_text(encoding="utf-8")))
