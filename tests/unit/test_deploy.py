"""The files for a server against what they speak of: commands, settings, and systemd's own check where there is one."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from orchestration.cli import CODE_PORT, SERVICES, UI_PORT, prepare_instance
from orchestration.settings import PROJECT_ROOT, Settings, SettingsError, load_settings

DEPLOY = PROJECT_ROOT / "orchestration" / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SECRET = "postgresql+psycopg2://customer360:not-to-be-seen@db:5432/customer360"


def test_there_is_a_unit_and_a_container_for_each_service() -> None:
    assert [unit.stem.removeprefix("customer360-") for unit in UNITS] == sorted(SERVICES)
    commands = {name: service["command"] for name, service in COMPOSE["services"].items() if "command" in service}
    assert commands == {part: ["serve", part] for part in SERVICES}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_its_service(unit: Path) -> None:
    part = unit.stem.removeprefix("customer360-")
    assert re.search(rf"^ExecStart=\S+ -m orchestration serve {part}$", unit.read_text(), flags=re.MULTILINE)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    for unit in UNITS:
        # The one thing that is not here is what they start.
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/customer360/.venv/bin/python", "/bin/true"))
    outcome = subprocess.run(
        ["systemd-analyze", "verify", *sorted(map(str, tmp_path.glob("*.service")))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (outcome.returncode, outcome.stderr.strip()) == (0, "")


def test_the_ui_is_open_to_the_machine_alone_and_every_setting_is_one() -> None:
    assert COMPOSE["services"]["webserver"]["ports"] == [f"127.0.0.1:{UI_PORT}:{UI_PORT}"]
    assert "ports" not in COMPOSE["services"]["code"] | COMPOSE["services"]["postgres"]
    known = {f"CUSTOMER360_{name.upper()}" for name in Settings.model_fields} | {"SOURCE", "INPUT", "AS_OF"}
    given = {name for part in SERVICES for name in COMPOSE["services"][part]["environment"]}
    assert given <= known, given - known


def test_the_workspace_finds_the_code_location_where_it_listens() -> None:
    (location,) = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]
    assert location["grpc_server"] == {
        "host": {"env": "CUSTOMER360_CODE_HOST"},
        "port": int(CODE_PORT),
        "location_name": "customer360",
    }


def test_the_image_has_what_a_refresh_reads() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", text, flags=re.MULTILINE) for name in line.split()}
    assert copied == {"requirements.lock", "pyproject.toml", "workspace.yaml", "dbt_project", "ml", "orchestration"}
    assert all((PROJECT_ROOT / name).exists() for name in copied)
    assert "--require-hashes" in text and re.search(r"^USER customer360$", text, flags=re.MULTILINE)


def test_dagsters_records_go_to_postgresql_and_its_password_to_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    prepare_instance(load_settings(data=tmp_path))
    written = tmp_path / "dagster" / "dagster.yaml"
    assert "storage" not in yaml.safe_load(written.read_text())
    prepare_instance(load_settings(data=tmp_path, dagster_storage_url=SECRET))
    storage = yaml.safe_load(written.read_text())["storage"]
    assert storage == {"postgres": {"postgres_url": {"env": "CUSTOMER360_DAGSTER_STORAGE_URL"}}}
    assert "not-to-be-seen" not in written.read_text()


def test_another_database_is_refused_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="DAGSTER_STORAGE_URL: not the address") as error:
        load_settings(data=tmp_path, dagster_storage_url="mysql://customer360:not-to-be-seen@db/customer360")
    assert "not-to-be-seen" not in str(error.value)
