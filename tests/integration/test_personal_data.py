"""What identifies a person is in the files as delivered and in the vault, and nowhere else: canaries in every field."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from orchestration.content_hash import quote_identifier
from orchestration.personal_data import customer_table
from orchestration.sources import load_source
from tests.generated_shops import WHOLESALER, tables, write
from tests.pipeline import Home

CANARY = "zqcanary"
SHOP = replace(WHOLESALER, customers=60, days=200)
KEY = "not-a-secret-" * 3


def with_canaries(customers: pd.DataFrame) -> pd.DataFrame:
    """A canary in every personal column, told apart by a number that makes it a value of its kind."""
    numbers = customers["customer_id"].str[1:].astype(int)
    filled = {
        "first_name": [f"{CANARY}first{number}" for number in numbers],
        "last_name": [f"{CANARY}last{number}" for number in numbers],
        "email": [f"{CANARY}{number}@example.com" for number in numbers],
        "phone": [f"+4989{7_130_000 + number}" for number in numbers],
        "birth_date": [f"19{50 + number % 40}-07-13" for number in numbers],
        "address_line": [f"{CANARY} street {number}" for number in numbers],
        "city": f"{CANARY}ville",
        "postal_code": [f"80{713 + number}" for number in numbers],
    }
    made = customers.assign(**filled)
    table = customer_table(load_source("contract"))
    assert table is not None
    assert {column.name for column in table.columns if column.is_personal} == set(filled)
    return made


# As delivered, and in the spelling of the vault.
CANARIES = (CANARY, "498971300", "19[5-8][0-9]-07-13")


def canaries_in(text: str) -> list[str]:
    """The kinds of canaries in a text."""
    return [canary for canary in CANARIES if re.search(canary, text)]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, str]:
    """A refresh of files full of canaries, then one of unreadable lines and rows that contradict others."""
    folder = tmp_path_factory.mktemp("canaries")
    made = tables(SHOP)
    made["customers"] = with_canaries(made["customers"])
    # Another person with the same address of mail: one customer.
    twin = made["customers"].head(1).assign(customer_id="K9000", first_name=f"{CANARY}twin")
    made["customers"] = pd.concat([made["customers"], twin], ignore_index=True)
    home = Home(folder / "data", write(made, folder / "input", "csv"))
    environment = {"SOURCE": "contract", "CUSTOMER360_PERSONAL_DATA_KEY": KEY}
    told = []
    refreshed = home.refresh(**environment)
    assert refreshed.returncode == 0, refreshed.stdout + refreshed.stderr
    told += [refreshed.stdout, refreshed.stderr]

    customers = folder / "input" / "customers.csv"
    whole = customers.read_text()
    header, first, *rest = whole.splitlines()
    conflicting = first.replace("first0", "other0")
    unreadable = first.replace("K0,", 'K9001,"') + f",{CANARY}more,{CANARY}more"
    customers.write_text("\n".join([header, first, conflicting, f"{first},{CANARY}more", unreadable, *rest]) + "\n")
    refused = home.refresh(**environment)
    assert refused.returncode == 1 and "keys_do_not_conflict" in refused.stderr, refused.stdout + refused.stderr
    told += [refused.stdout, refused.stderr]
    return home, "\n".join(told)


def _text_of_tables(path: Path) -> Iterator[tuple[str, str]]:
    """Every value of a DuckDB file outside the vault, as text, by table."""
    with duckdb.connect(str(path), read_only=True) as connection:
        relations = connection.execute(
            "select schema_name, table_name from duckdb_tables() where schema_name != 'vault'"
        ).fetchall()
        for schema, name in relations:
            relation = f"{schema}.{quote_identifier(name)}"
            for found in connection.execute(f"select {relation}::varchar from {relation}").fetchall():
                yield relation, str(found[0])


def test_no_canary_leaves_the_files_as_delivered_and_the_vault(outcome: tuple[Home, str]) -> None:
    home, told = outcome
    assert canaries_in(told) == []
    found = []
    searched = 0
    for path in sorted(home.data.rglob("*")):
        if not path.is_file() or path.is_symlink() or path.is_relative_to(home.data / "raw"):
            continue
        searched += 1
        found += [(path.name, "its name", canary) for canary in canaries_in(path.name)]
        if path.suffix == ".duckdb":
            texts: Iterable[tuple[str, str]] = _text_of_tables(path)
        elif path.suffix == ".parquet":
            with duckdb.connect() as connection:
                texts = connection.execute(f"select '', t::varchar from read_parquet('{path}') as t").fetchall()
        else:
            texts = [("", path.read_bytes().decode("latin-1"))]
        found += [(path.name, where, canary) for where, text in texts for canary in canaries_in(text)]
    assert found == []
    assert searched > 20


def test_the_canaries_can_be_found_at_all(outcome: tuple[Home, str]) -> None:
    home, _ = outcome
    with duckdb.connect(str(home.settings.warehouse_path), read_only=True) as connection:
        (row,) = connection.execute("select vault.customers::varchar from vault.customers limit 1").fetchone() or ("",)
    assert canaries_in(row) == list(CANARIES)
    raw = [path for path in (home.data / "raw" / "contract" / "customers").iterdir() if path.suffix == ".parquet"]
    assert raw


def test_readers_have_keys_to_join_on_and_coarse_attributes(outcome: tuple[Home, str]) -> None:
    home, _ = outcome
    # A canary's number is no telephone number by chance: all have keys, and nobody else's.
    assert home.query(
        "select count(*), count(distinct email_key), count(distinct phone_key), bool_and(length(email_key) = 64)"
        " from marts.customer_360"
    ) == [(SHOP.customers, SHOP.customers, SHOP.customers, True)]
    bands = {band for (band,) in home.query("select distinct age_band from marts.customer_360")}
    assert bands <= {"25-34", "35-44", "45-54", "55-64", "65+"} and len(bands) == 5
    assert home.query("select distinct region from marts.customer_360 order by all") == [("north",), ("south",)]


def test_who_is_a_customer_twice_is_one(outcome: tuple[Home, str]) -> None:
    home, _ = outcome
    assert home.query("select count(*) from marts.customer_360 where customer_id = 'K9000'") == [(0,)]
