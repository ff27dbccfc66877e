"""How delivered files are written, as their folder's `format.yml` says, and the SQL that reads text so written.

    encoding: cp1252            # all keys may be left out
    delimiter: ";"
    decimal: ","
    thousands: "."
    date_order: dmy
    time_zone: Europe/Berlin
    tables:                     # what differs for one table
      products: {decimal: "."}

Raw views show text through `shown`: clean, with numbers and times in ISO spelling, so that staging knows no formats.
"""

import codecs
from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from orchestration.content_hash import quote_identifier
from orchestration.sources import RawColumn, Source, type_family

FORMAT_NAME = "format.yml"
NULL_SPELLINGS = ("", "NULL", "null", "NA", "N/A", "\\N")

# Python's gbk lacks characters, among them the euro sign, that files called so have.
WIDER_ENCODINGS = {"gbk": "gb18030", "gb2312": "gb18030"}

_SPACES = "\t\n\v\f\r\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_FULL_WIDTH = "".join(map(chr, range(0xFF01, 0xFF5F)))
_ASCII = "".join(map(chr, range(0x21, 0x7F)))
_DROPPED = "".join(
    character
    for character in (*map(chr, range(1, 0x20)), *map(chr, range(0x7F, 0xA0)), "\u200b", "\u2060", "\ufeff")
    if character not in _SPACES
)
_CLOCK = r"\d{1,2}:\d{2}(:\d{2}([.]\d{1,9})?)?( ?[AaPp][Mm])?"
_ZONE = r"(Z|UTC|GMT|[+-]\d{2}(:?\d{2})?)"
UNREADABLE = "not read: "


class FormatError(ValueError):
    """A `format.yml` that cannot be used: which key, what was given, what is expected."""


class FileFormat(BaseModel):
    """How the text of a table's files is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoding: str = Field(
        default="utf-8", description="Of CSV: utf-8, latin-1, cp1252, gbk, utf-16 or another of Python's."
    )
    delimiter: str = Field(default=",", description="Between the fields of a CSV, one character.")
    quote: str | None = Field(default='"', description="Around fields of a CSV, doubled within; null: none.")
    decimal: Literal[".", ","] = Field(default=".", description="Before the fraction of a number.")
    thousands: Literal[".", ",", " ", "'"] | None = Field(default=None, description="Between groups of three digits.")
    date_order: Literal["ymd", "dmy", "mdy"] = Field(
        default="ymd", description="Of day, month and year; the year has 4 digits."
    )
    time_zone: str | None = Field(
        default=None,
        description="Of times that name none. By default text is in the business's zone, typed Parquet in UTC.",
    )
    nulls: tuple[str, ...] = Field(
        default=NULL_SPELLINGS, description="Spellings of no value; empty text always is one."
    )

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str) -> str:
        try:
            "a,\n".encode(value).decode(value)
            codecs.getincrementaldecoder(value)
        except (LookupError, UnicodeError):
            raise ValueError(f"{value!r} is no encoding; for example utf-8, latin-1, cp1252, gbk, utf-16") from None
        return WIDER_ENCODINGS.get(value.lower(), value)

    @field_validator("delimiter", "quote")
    @classmethod
    def _is_one_character(cls, value: str | None) -> str | None:
        if value is not None and (len(value) != 1 or value.isalnum() or value in "\n\r\0-+"):
            raise ValueError(f'{value!r} is not one character that can stand there; for example ";" or "\\t"')
        return value

    @field_validator("time_zone")
    @classmethod
    def _zone_is_known(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (KeyError, ValueError, OSError):
                raise ValueError(f"{value!r} is not a time zone; for example Europe/Berlin") from None
        return value

    @model_validator(mode="after")
    def _signs_differ(self) -> Self:
        if self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}; they have to differ")
        if self.delimiter == self.quote:
            raise ValueError(f"delimiter and quote are both {self.delimiter!r}; they have to differ")
        return self

    def given(self) -> dict[str, Any]:
        """What differs from the default, as JSON holds it."""
        return self.model_dump(mode="json", exclude_defaults=True)


def read_formats(source: Source, input_dir: Path) -> dict[str, FileFormat]:
    """The format of each table's files, from `input_dir/format.yml` if there is one.

    Raises:
        FormatError: It is no YAML of this shape, or names a table, key or value that is not known.
    """
    path = input_dir / FORMAT_NAME
    if not path.exists():
        return {table.name: FileFormat() for table in source.tables}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} is not YAML ({str(error).splitlines()[0]}). Mend it") from error
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}") from error
    tables = content.pop("tables", None) or {} if isinstance(content, dict) else None
    if not isinstance(tables, dict) or not all(isinstance(given, dict) for given in tables.values()):
        raise FormatError(f"{path} is not made of keys and values, with those of one table under tables: <table>:")
    names = [table.name for table in source.tables]
    unknown = sorted(str(name) for name in tables if name not in names)
    if unknown:
        raise FormatError(f"{path}: unknown table {', '.join(unknown)}; give some of {', '.join(names)}")
    _format(path, "", content)  # a fault of all tables is said once, not of a table
    return {name: _format(path, f"tables: {name}: ", content | tables.get(name, {})) for name in names}


def _format(path: Path, where: str, content: dict[str, Any]) -> FileFormat:
    try:
        return FileFormat(**content)
    except (ValidationError, TypeError) as error:
        issues = error.errors() if isinstance(error, ValidationError) else []
        problems = [_problem(issue) for issue in issues] or ["its keys are not text"]
        raise FormatError(f"{path}: {where}{'; '.join(problems)}") from None


def _problem(issue: Any) -> str:
    name = str(issue["loc"][0]) if issue["loc"] else ""
    if issue["type"] == "extra_forbidden":
        return f"unknown key {name}; give some of {', '.join(FileFormat.model_fields)}, tables"
    text = str(issue["msg"]).removeprefix("Value error, ")
    if not name:
        return text
    return f"{name}: {text}" if issue["type"] == "value_error" else f"{name}: {issue['input']!r} cannot be used: {text}"


def literal(text: str) -> str:
    """`text` as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def clean(expression: str) -> str:
    """Text without what cannot be seen: control characters gone, every space an ASCII one, full width made ASCII."""
    seen = f"translate(replace({expression}, chr(0), ''), {_from_characters()}, {_to_characters()})"
    # Few values need it, and looking is much cheaper.
    return f"trim(case when regexp_matches({expression}, '[^ -~]') then {seen} else {expression} end)"


def _codes(text: str) -> str:
    # Control characters do not belong into a view's definition.
    return "list_aggregate([" + ", ".join(f"chr({ord(character)})" for character in text) + "], 'string_agg', '')"


def _from_characters() -> str:
    return _codes(_SPACES + _FULL_WIDTH + _DROPPED)


def _to_characters() -> str:
    return literal(" " * len(_SPACES) + _ASCII)


def nulled(expression: str, file_format: FileFormat) -> str:
    """Clean text, with the spellings of no value as NULL."""
    spellings = ", ".join(literal(spelling) for spelling in dict.fromkeys(("", *file_format.nulls)))
    # A plain `in` becomes a join for each column, also of those that a query leaves out.
    return f"case when list_contains([{spellings}], {expression}) then null else {expression} end"


def shown(column: RawColumn, expression: str, file_format: FileFormat, time_zone: str) -> str:
    """Clean text of a column as ISO spells it; what cannot be read so is shown so that no cast will take it.

    Args:
        column: Decides what the text stands for.
        expression: The text: clean, with no value as NULL.
        file_format: How it is written.
        time_zone: The business's, of times that name none where the format names none either.
    """
    if column.data_type.lower() == "date":
        return _date(expression, file_format)
    family = type_family(column.data_type)
    if family == "time":
        return _timestamp(expression, file_format, file_format.time_zone or time_zone)
    if family in ("integer", "number") and (file_format.decimal, file_format.thousands) != (".", None):
        return _number(expression, file_format, column.data_type)
    return expression


def _otherwise(expression: str, data_type: str) -> str:
    """Text that the format cannot read: as delivered, unless a cast would take it for something else."""
    return (
        f"case when try_cast({expression} as {data_type}) is null then {expression}"
        f" else {literal(UNREADABLE)} || {expression} end"
    )


def _number(expression: str, file_format: FileFormat, data_type: str) -> str:
    point = f"[{file_format.decimal}]"
    digits = rf"\d+|\d{{1,3}}([{file_format.thousands}]\d{{3}})+" if file_format.thousands else r"\d+"
    plain = f"replace({expression}, {literal(file_format.thousands)}, '')" if file_format.thousands else expression
    pattern = literal(rf"[+-]?(({digits})({point}\d*)?|{point}\d+)([eE][+-]?\d+)?")
    pointed = f"replace({plain}, {literal(file_format.decimal)}, '.')"
    return (
        f"case when regexp_full_match({expression}, {pattern}) then {pointed}"
        f" else {_otherwise(expression, data_type)} end"
    )


def _iso_order(expression: str, file_format: FileFormat, rest: str) -> str:
    """The date at the text's beginning in ISO's order and signs; text that does not fit at all is left alone."""
    iso = rf"regexp_replace({expression}, '^(\d{{4}})[/.](\d{{1,2}})[/.](\d{{1,2}}){rest}$', '\1-\2-\3\4')"
    if file_format.date_order == "ymd":
        return rf"regexp_replace({iso}, '^(\d{{4}})(\d{{2}})(\d{{2}}){rest}$', '\1-\2-\3\4')"
    order = r"\3-\2-\1\4" if file_format.date_order == "dmy" else r"\3-\1-\2\4"
    return rf"regexp_replace({iso}, '^(\d{{1,2}})[-/.](\d{{1,2}})[-/.](\d{{4}}){rest}$', '{order}')"


def _date(expression: str, file_format: FileFormat) -> str:
    iso = _iso_order(expression, file_format, "([ T].*)?")
    pattern = literal(rf"\d{{4}}-\d{{1,2}}-\d{{1,2}}([ T]+{_CLOCK} ?{_ZONE}?)?")
    return (
        # Already as it should be, as nearly always.
        rf"case when regexp_full_match({expression}, '\d{{4}}-\d{{2}}-\d{{2}}') then {expression}"
        f" when regexp_full_match({iso}, {pattern}) and try_cast({iso} as date) is not null"
        f" then try_cast({iso} as date)::varchar else {_otherwise(expression, 'date')} end"
    )


def _timestamp(expression: str, file_format: FileFormat, time_zone: str) -> str:
    iso = _iso_order(expression, file_format, "([ T].*)?")
    date = r"\d{4}-\d{1,2}-\d{1,2}"
    pattern, zoned = literal(rf"{date}([ T]+{_CLOCK})?"), literal(rf"{date}[ T]+{_CLOCK} ?{_ZONE}")
    local = (
        f"coalesce(try_cast({iso} as timestamp), try_strptime({iso}, ['%Y-%m-%d %I:%M:%S %p', '%Y-%m-%d %I:%M %p']))"
    )
    utc = local if time_zone == "UTC" else f"({local} at time zone {literal(time_zone)} at time zone 'UTC')"
    # The engine wants an offset right behind seconds.
    offset = rf"regexp_replace(regexp_replace({iso}, ' ?(Z|UTC|GMT)$', '+00'), ' +([+-][0-9:]+)$', '\1')"
    seconds = rf"regexp_replace({offset}, '([ T]\d{{1,2}}:\d{{2}})([+-][0-9:]+)$', '\1:00\2')"
    instant = f"(try_cast({seconds} as timestamptz) at time zone 'UTC')"
    return (
        f"case when regexp_full_match({iso}, {pattern}) and {local} is not null then {utc}::varchar"
        f" when regexp_full_match({iso}, {zoned}) and {instant} is not null then {instant}::varchar"
        f" else {_otherwise(expression, 'timestamp')} end"
    )


def typed(column: RawColumn, name: str, found_type: str, file_format: FileFormat, time_zone: str) -> str:
    """A column of a type of its own: in UTC if it is a time, whole numbers without a fraction where they are text."""
    value, kind = quote_identifier(name), found_type.upper()
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"({value} at time zone 'UTC')"
    if kind.startswith("TIMESTAMP"):
        zone = file_format.time_zone or "UTC"
        return (
            f"{value}::timestamp"
            if zone == "UTC"
            else f"({value}::timestamp at time zone {literal(zone)} at time zone 'UTC')"
        )
    if kind == "DATE" and type_family(column.data_type) == "time" and column.data_type.lower() != "date":
        # A day begins at the business's midnight.
        return f"({value}::timestamp at time zone {literal(file_format.time_zone or time_zone)} at time zone 'UTC')"
    if kind == "UUID" or kind.startswith("ENUM"):
        return f"{value}::varchar"
    if kind in ("FLOAT", "DOUBLE") and type_family(column.data_type) == "text":
        # A frame with gaps turns whole keys into 5.0; they have to meet 5 elsewhere.
        is_whole = f"{value} = trunc({value}) and abs({value}) < 1e18"
        return f"case when {is_whole} then {value}::bigint::varchar else {value}::varchar end"
    return value
