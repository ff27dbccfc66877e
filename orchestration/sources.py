"""What a source declares about its raw tables: one YAML file, read by landing, by gate 1 and by dbt alike."""

import importlib.util
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from orchestration.settings import STAGING_DIR, Settings, SettingsError

# DuckDB's types by what they can stand for: a file may hold a narrower type of the same family.
TYPE_FAMILIES = {
    "integer": {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"},
    "number": {"FLOAT", "DOUBLE", "DECIMAL"},
    "text": {"VARCHAR"},
    "time": {"DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"},
    "boolean": {"BOOLEAN"},
}


def type_family(duckdb_type: str) -> str:
    """The family of a DuckDB type, or the type itself where it belongs to none (a list, a struct)."""
    name = duckdb_type.upper().split("(")[0].strip()
    for family, members in TYPE_FAMILIES.items():
        if name in members:
            return family
    return name


@dataclass(frozen=True)
class RawColumn:
    """A column as the source declares it."""

    name: str
    data_type: str
    description: str
    max_null_share: float | None  # None: the setting's default
    is_required: bool = True
    is_personal: bool = False
    may_be_text: bool = False
    enables: str | None = None

    def accepts(self, duckdb_type: str) -> bool:
        """Whether a file's column of this type will do: the same family, or whole numbers for numbers.

        Where values may be text, text will do for everything, and every plain value for text.
        """
        given, wanted = type_family(duckdb_type), type_family(self.data_type)
        if self.may_be_text and (given == "text" or (wanted == "text" and given in TYPE_FAMILIES)):
            return True
        return given == wanted or (given, wanted) == ("integer", "number")


@dataclass(frozen=True)
class RawTable:
    """A raw table as the source declares it."""

    name: str
    description: str
    columns: tuple[RawColumn, ...]
    key: tuple[str, ...]
    event_at: str | None
    is_required: bool = True
    customer: str | None = None
    enables: str | None = None

    @property
    def view(self) -> str:
        """The table's name in the warehouse."""
        return f"raw.{self.name}"

    @property
    def takes_text(self) -> bool:
        """Whether its values may be text, so that it may come as CSV."""
        return any(column.may_be_text for column in self.columns)


@dataclass(frozen=True)
class Source:
    """A source: its tables, and what holds for all of them."""

    name: str
    time_zone: str
    package: str | None
    tables: tuple[RawTable, ...]
    keeps_undeclared: bool = False
    first_as_of: date = date(1990, 1, 1)
    lacks: tuple[str, ...] = ()

    @property
    def orders(self) -> RawTable:
        """The table whose events are the orders."""
        return next(table for table in self.tables if table.event_at)

    def input_dir(self, given: Path | None) -> Path:
        """Where the source's files come from: the folder given, else the source's installed package.

        Raises:
            SettingsError: No folder was given, and the source has no package or it is not installed.
        """
        if given is not None:
            return given
        spec = importlib.util.find_spec(self.package) if self.package else None
        if spec is None or spec.origin is None:
            package = f", or install the package {self.package}" if self.package else ""
            raise SettingsError(f"source {self.name} needs INPUT=<folder with its files>{package}")
        return Path(spec.origin).parent / "data"


def _meta(node: dict[str, Any]) -> dict[str, Any]:
    return dict(node.get("config", {}).get("meta", {}))


def _column(node: dict[str, Any], may_be_text: bool) -> RawColumn:
    meta = _meta(node)
    is_required = meta.get("required", True)
    return RawColumn(
        node["name"],
        node["data_type"],
        node["description"],
        max_null_share=meta.get("max_null_share", None if is_required else 1.0),
        is_required=is_required,
        is_personal=meta.get("personal", False),
        may_be_text=may_be_text,
        enables=meta.get("enables"),
    )


@lru_cache
def load_source(name: str) -> Source:
    """The declaration of source `name`, which `settings.known_sources()` lists."""
    path = STAGING_DIR / name / f"_{name}__sources.yml"
    (node,) = yaml.safe_load(path.read_text(encoding="utf-8"))["sources"]
    meta = _meta(node)
    tables = tuple(
        RawTable(
            name=table["name"],
            description=table["description"],
            columns=tuple(_column(column, meta.get("values_are_text", False)) for column in table["columns"]),
            key=tuple(_meta(table).get("key", ())),
            event_at=_meta(table).get("event_at"),
            is_required=_meta(table).get("required", True),
            customer=_meta(table).get("customer"),
            enables=_meta(table).get("enables"),
        )
        for table in node["tables"]
    )
    return Source(
        name,
        meta["time_zone"],
        meta.get("package"),
        tables,
        keeps_undeclared=meta.get("undeclared_columns") == "keep",
        first_as_of=meta.get("first_as_of", Source.first_as_of),
        lacks=tuple(meta.get("lacks", ())),
    )


def source_of(settings: Settings) -> Source:
    """The source that the settings name, in the time zone that they name, if they name one."""
    source = load_source(settings.source)
    return source if settings.time_zone is None else replace(source, time_zone=settings.time_zone)
