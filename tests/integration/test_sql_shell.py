"""The analyst's shell: reads the published marts, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.settings import PROJECT_ROOT
from tests.pipeline import Home

FORBIDDEN = {
    "write a file": "copy (select 1) to '{folder}/out.csv'",
    "read a file": "select * from read_text('{folder}/secret.txt')",
    "read a file by its name": "select * from '{folder}/secret.txt'",
    "attach": "attach '{folder}/other.duckdb'",
    "install": "install httpfs",
    "load": "load httpfs",
    "set": "set memory_limit = '1GB'",
    "unlock": "set lock_configuration = false",
    "environment": "select getenv('HOME')",
    "create": "create table marts.x as select 1",
    "delete": "delete from marts.orders",
    "export": "export database '{folder}/dump'",
}


def test_a_query_is_answered(small_home: Home) -> None:
    outcome = small_home.run("sql", "select count(*) as customers from customer_360")
    assert outcome.returncode == 0, outcome.stderr
    assert "customers" in outcome.stdout
    assert "60" in outcome.stdout


@pytest.mark.parametrize("what", sorted(FORBIDDEN))
def test_nothing_but_the_marts_can_be_reached(small_home: Home, tmp_path: Path, what: str) -> None:
    (tmp_path / "secret.txt").write_text("CANARY")
    before = small_home.published_hashes()
    outcome = small_home.run("sql", FORBIDDEN[what].format(folder=tmp_path))
    assert outcome.returncode != 0
    assert "CANARY" not in outcome.stdout + outcome.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.txt"]
    assert small_home.published_hashes() == before


def test_commands_of_the_shell_cannot_leave_it(small_home: Home, tmp_path: Path) -> None:
    commands = (".shell echo CANARY", ".read /etc/hostname", f".output {tmp_path}/out", f".open {tmp_path}/other")
    outcome = subprocess.run(
        [sys.executable, "-m", "orchestration", "sql"],
        cwd=PROJECT_ROOT,
        env=small_home.environment(),
        input="\n".join([*commands, "select 'still here' as answer;"]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.stderr.count("cannot be used in -safe mode") == len(commands)
    assert "CANARY" not in outcome.stdout
    assert "still here" in outcome.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_shell_refuses_a_damaged_file(copied_home: Home) -> None:
    file = copied_home.store.current_file()
    file.chmod(0o644)
    with file.open("r+b") as stream:
        stream.seek(file.stat().st_size // 2)
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 1]))
    outcome = copied_home.run("sql", "select 1")
    assert outcome.returncode == 2
    assert "damaged" in outcome.stderr


def test_nothing_published_yet_says_what_to_do(tmp_path: Path) -> None:
    outcome = Home(tmp_path / "data").run("sql", "select 1")
    assert outcome.returncode == 2
    assert "refresh" in outcome.stderr
