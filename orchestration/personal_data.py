"""What identifies a person, apart: the vault of the private warehouse, and the keyed hashes that others may join on.

Nothing else of the pipeline reads names, addresses and numbers: staging takes from here who is whom and how old, in
coarse words. The hashes are keyed (HMAC), as the hash of a telephone number alone is found by trying all numbers; the
key is in the environment and not in the warehouse.
"""

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import duckdb
import phonenumbers
import pyarrow as pa
from email_validator import EmailNotValidError, validate_email
from pydantic import SecretStr

from orchestration.sources import RawTable, Source

NAMES = ("first_name", "last_name", "email", "phone", "address_line", "city", "region", "postal_code", "country")
READ = {"customer_id", "birth_date", *NAMES}
CUSTOMERS = "vault.customers"
CUSTOMER_KEYS = "vault.customer_keys"
BATCH_ROWS = 10_000
# As many signs of a postal code as name a part of the country: some hundreds of thousands of people, not a street.
REGION_SIGNS = 2

VAULT_TABLES = f"""
    create schema if not exists vault;
    create or replace table {CUSTOMERS} (
        customer_id varchar,
        first_name varchar,
        last_name varchar,
        email varchar,
        phone varchar,
        address varchar,
        birth_date date
    );
    create or replace table {CUSTOMER_KEYS} (
        customer_id varchar,
        email_key varchar,
        phone_key varchar,
        birth_year integer,
        postal_region varchar
    );
"""


def normal_text(text: str | None) -> str | None:
    """Text in one spelling: compatible signs of Unicode as one (NFKC), single spaces; None where nothing is left."""
    words = unicodedata.normalize("NFKC", text or "").split()
    return " ".join(words) or None


def normal_email(text: str | None) -> str | None:
    """An e-mail address in small letters, its domain as it is looked up; None for what is no address."""
    try:
        # What domains there are is not asked: nothing leaves the machine.
        return validate_email(normal_text(text) or "", check_deliverability=False).normalized.lower()
    except EmailNotValidError:
        return None


def normal_phone(text: str | None, country: str | None) -> str | None:
    """A telephone number as E.164 writes it (+4989123456); None for what is no number.

    Args:
        text: As delivered.
        country: ISO 3166 code of two letters, for numbers without the code of a country.
    """
    try:
        number = phonenumbers.parse(normal_text(text) or "", country)
    except phonenumbers.NumberParseException:
        return None
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def normal_address(parts: Iterable[str | None]) -> str | None:
    """The parts of an address in one line and one spelling, so that equal addresses are equal text."""
    told = [part for part in map(normal_text, parts) if part]
    return ", ".join(re.sub(r"\s*,\s*", ", ", part).strip(", ") for part in told).casefold() or None


def postal_region(postal_code: str | None, country: str | None) -> str | None:
    """A part of the country, by the first signs of the postal code; None for a code too short to hide somebody in."""
    signs = re.sub(r"[^0-9A-Z]", "", (normal_text(postal_code) or "").upper())
    if len(signs) <= REGION_SIGNS:
        return None
    return "-".join(part for part in (country, signs[:REGION_SIGNS]) if part)


def keyed_hash(value: str | None, key: SecretStr | None, purpose: str) -> str | None:
    """HMAC-SHA256 (RFC 2104) of a value, in hexadecimal digits; None without a value or a key.

    Args:
        value: In its normal spelling.
        key: The secret.
        purpose: What the value is, so that equal text of two kinds has two hashes.
    """
    if value is None or key is None:
        return None
    return hmac.new(key.get_secret_value().encode(), f"{purpose}\0{value}".encode(), hashlib.sha256).hexdigest()


def _country(row: Mapping[str, Any], default: str | None) -> str | None:
    code = (normal_text(row["country"]) or "").upper()
    return code if code in phonenumbers.SUPPORTED_REGIONS else default


def _vault_row(row: Mapping[str, Any], default_country: str | None) -> dict[str, Any]:
    return {
        "customer_id": row["customer_id"],
        "first_name": normal_text(row["first_name"]),
        "last_name": normal_text(row["last_name"]),
        "email": normal_email(row["email"]),
        "phone": normal_phone(row["phone"], _country(row, default_country)),
        "address": normal_address(row[part] for part in ("address_line", "postal_code", "city", "region", "country")),
        "birth_date": row["birth_date"],
    }


def _key_row(
    row: Mapping[str, Any], kept: Mapping[str, Any], default_country: str | None, key: SecretStr | None
) -> Any:
    return {
        "customer_id": row["customer_id"],
        "email_key": keyed_hash(kept["email"], key, "email"),
        "phone_key": keyed_hash(kept["phone"], key, "phone"),
        "birth_year": kept["birth_date"].year if kept["birth_date"] else None,
        "postal_region": postal_region(row["postal_code"], _country(row, default_country)),
    }


def customer_table(source: Source) -> RawTable | None:
    """The table that names persons as the contract does; None where a source has none, and what it has stays in raw."""
    return next((table for table in source.tables if {column.name for column in table.columns} >= READ), None)


def fill_vault(
    connection: duckdb.DuckDBPyConnection, table: RawTable, key: SecretStr | None, default_country: str | None
) -> dict[str, int]:
    """Fills the vault from what is landed: all of it or, where it fails, nothing.

    Args:
        connection: To the warehouse; the raw view of the table is read in batches.
        table: The customers as they landed.
        key: Of the hashes; without one they are NULL.
        default_country: ISO 3166 code of two letters, for customers whose country is not told by one.

    Returns:
        How many customers there are, and how many of them have each kind of value in a usable spelling.
    """
    columns = ", ".join(f"any_value({name}::varchar) as {name}" for name in NAMES)
    reader = connection.cursor().execute(
        f"select customer_id::varchar as customer_id, {columns}, any_value(try_cast(birth_date as date)) as birth_date"
        f" from {table.view} where customer_id is not null group by customer_id"
    )
    connection.execute("begin")
    try:
        connection.execute(VAULT_TABLES)
        for batch in reader.to_arrow_reader(BATCH_ROWS):
            rows = batch.to_pylist()
            kept = [_vault_row(row, default_country) for row in rows]
            keys = [_key_row(row, vault, default_country, key) for row, vault in zip(rows, kept, strict=True)]
            for relation, filled in ((CUSTOMERS, kept), (CUSTOMER_KEYS, keys)):
                schema = connection.table(relation).limit(0).to_arrow_table().schema
                connection.register("batch", pa.Table.from_pylist(filled, schema=schema))
                connection.execute(f"insert into {relation} select * from batch")
                connection.unregister("batch")
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise
    counted = ("email", "phone", "address", "birth_date")
    row = connection.execute(
        f"select count(*), {', '.join(f'count({name})' for name in counted)} from {CUSTOMERS}"
    ).fetchone()
    assert row is not None
    return dict(zip(("customers", *counted), row, strict=True))
