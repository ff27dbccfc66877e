"""What identifies a person is spelled one way, kept in the vault, and stands elsewhere as a keyed hash."""

import hashlib
import hmac
from collections.abc import Iterator

import duckdb
import pytest
from pydantic import SecretStr

from orchestration.personal_data import (
    customer_table,
    fill_vault,
    keyed_hash,
    normal_address,
    normal_email,
    normal_phone,
    normal_text,
    postal_region,
)
from orchestration.settings import SettingsError, load_settings
from orchestration.sources import load_source

TABLE = customer_table(load_source("contract"))
KEY = SecretStr("k" * 32)


def wide(text: str) -> str:
    """Full-width characters, as East Asian keyboards give them."""
    return "".join(character if character == " " else chr(ord(character) + 0xFEE0) for character in text)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("  Ann.Lee@ExAmple.COM ", "ann.lee@example.com"),
        (wide("joe@") + "example.com", "joe@example.com"),
        ("joe@bücher.example.com", "joe@bücher.example.com"),
        ("joe@xn--bcher-kva.example.com", "joe@bücher.example.com"),
        ("joe@example", None),
        ("joe at example.com", None),
        ("a@b@example.com", None),
        ("", None),
        (None, None),
    ],
)
def test_an_address_of_mail_has_one_spelling_or_is_none(given: str | None, expected: str | None) -> None:
    assert normal_email(given) == expected


@pytest.mark.parametrize(
    ("given", "country", "expected"),
    [
        ("089 / 12 34 56", "DE", "+4989123456"),
        ("+49 (89) 123456", None, "+4989123456"),
        ("0049 89 123456", "DE", "+4989123456"),
        ("(212) 555-0123", "US", "+12125550123"),
        (wide("020 7946 0958"), "GB", "+442079460958"),
        ("089 123456", None, None),
        ("12", "DE", None),
        ("call me", "DE", None),
        (None, "DE", None),
    ],
)
def test_a_telephone_number_is_written_as_e164_or_is_none(
    given: str | None, country: str | None, expected: str | None
) -> None:
    assert normal_phone(given, country) == expected


def test_equal_addresses_are_equal_text() -> None:
    spellings: list[list[str | None]] = [
        ["12  Main St. ,", "80331", None, "MÜNCHEN"],
        ["12 Main St.", " 80331", "", "München"],
    ]
    assert {normal_address(parts) for parts in spellings} == {"12 main st., 80331, münchen"}
    assert normal_address([None, " ", ""]) is None
    assert normal_text(" Ann\t " + wide("Lee")) == "Ann Lee"


def test_a_postal_code_names_a_part_of_the_country_unless_it_is_too_short_to_hide_in() -> None:
    assert postal_region("80331", "DE") == "DE-80"
    assert postal_region("sw1a 1aa", "GB") == "GB-SW"
    assert postal_region("80331", None) == "80"
    assert postal_region("80", "DE") is None
    assert postal_region(None, "DE") is None


def test_the_hash_is_hmac_and_depends_on_key_and_kind() -> None:
    expected = hmac.new(b"k" * 32, b"email\0joe@example.com", hashlib.sha256).hexdigest()
    assert keyed_hash("joe@example.com", KEY, "email") == expected
    assert keyed_hash("joe@example.com", SecretStr("j" * 32), "email") != expected
    assert keyed_hash("joe@example.com", KEY, "phone") != expected
    assert keyed_hash("joe@example.com", None, "email") is None
    assert keyed_hash(None, KEY, "email") is None


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    assert TABLE is not None
    with duckdb.connect() as opened:
        opened.execute("create schema raw")
        columns = ", ".join(f"{column.name} varchar" for column in TABLE.columns)
        opened.execute(f"create table raw.customers ({columns})")
        opened.execute(
            "insert into raw.customers by name select * from (values"
            " ('1', 'Ann', ' Ann@Example.com', '089 123456', '1990-02-03', '80331', 'de'),"
            " ('1', 'Ann', ' Ann@Example.com', '089 123456', '1990-02-03', '80331', 'de'),"
            " ('2', 'Bob', 'ann@example.com', '+4989123456', 'in May', '', ''),"
            " (null, 'Eve', 'eve@example.com', null, null, null, null)"
            ") as rows (customer_id, first_name, email, phone, birth_date, postal_code, country)"
        )
        yield opened


def test_the_vault_holds_each_customer_once_and_the_keys_hold_no_value(connection: duckdb.DuckDBPyConnection) -> None:
    assert TABLE is not None
    counts = fill_vault(connection, TABLE, KEY, None)
    assert counts == {"customers": 2, "email": 2, "phone": 2, "address": 1, "birth_date": 1}
    kept = connection.execute("select customer_id, first_name, email, phone from vault.customers order by all")
    assert kept.fetchall() == [
        ("1", "Ann", "ann@example.com", "+4989123456"),
        ("2", "Bob", "ann@example.com", "+4989123456"),
    ]
    keys = connection.execute("select * from vault.customer_keys order by customer_id").fetchall()
    email_key, phone_key = keyed_hash("ann@example.com", KEY, "email"), keyed_hash("+4989123456", KEY, "phone")
    assert keys == [("1", email_key, phone_key, 1990, "DE-80"), ("2", email_key, phone_key, None, None)]


def test_without_a_key_there_are_no_hashes(connection: duckdb.DuckDBPyConnection) -> None:
    assert TABLE is not None
    fill_vault(connection, TABLE, None, None)
    keys = connection.execute("select count(*), count(email_key), count(phone_key) from vault.customer_keys").fetchone()
    assert keys == (2, 0, 0)


def test_a_fill_that_fails_leaves_the_vault_as_it_was(connection: duckdb.DuckDBPyConnection) -> None:
    assert TABLE is not None
    fill_vault(connection, TABLE, KEY, None)
    connection.execute("drop table raw.customers")
    connection.execute("create view raw.customers as select error('gone') as customer_id")
    with pytest.raises(duckdb.Error):
        fill_vault(connection, TABLE, KEY, None)
    assert connection.execute("select count(*) from vault.customers").fetchone() == (2,)


def test_many_customers_are_read_in_batches(connection: duckdb.DuckDBPyConnection) -> None:
    assert TABLE is not None
    connection.execute("insert into raw.customers by name select 'c' || range as customer_id from range(25000)")
    assert fill_vault(connection, TABLE, KEY, None)["customers"] == 25_002


def test_a_key_that_could_be_guessed_and_a_country_that_is_none_are_refused() -> None:
    with pytest.raises(SettingsError, match="CUSTOMER360_PERSONAL_DATA_KEY: shorter than 32 characters") as refused:
        load_settings(personal_data_key="secret")
    assert "secret" not in str(refused.value)
    with pytest.raises(SettingsError, match="CUSTOMER360_COUNTRY: 'Germany' is not a country's code"):
        load_settings(country="Germany")
    assert "k" * 32 not in repr(load_settings(personal_data_key=KEY.get_secret_value()))
