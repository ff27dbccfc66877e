"""Tables in Markdown, as Dagster's UI shows them in metadata."""

from collections.abc import Iterable, Sequence
from typing import Any

from dagster import MarkdownMetadataValue, MetadataValue


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> MarkdownMetadataValue:
    """A table; cells are shown as text, with thousands separated."""

    def line(cells: Iterable[Any]) -> str:
        return "| " + " | ".join(_cell(cell) for cell in cells) + " |"

    return MetadataValue.md("\n".join([line(header), line("---" for _ in header), *(line(row) for row in rows)]))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value).replace("|", "\\|").replace("\n", " ")
