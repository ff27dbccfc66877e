"""Tables and pictures in Markdown, as Dagster's UI shows them in metadata."""

import base64
from collections.abc import Iterable, Sequence
from typing import Any

from dagster import MarkdownMetadataValue, MetadataValue


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> MarkdownMetadataValue:
    """A table; cells are shown as text, with thousands separated."""

    def line(cells: Iterable[Any]) -> str:
        return "| " + " | ".join(_cell(cell) for cell in cells) + " |"

    return MetadataValue.md("\n".join([line(header), line("---" for _ in header), *(line(row) for row in rows)]))


def markdown_picture(png: bytes) -> MarkdownMetadataValue:
    """A picture that needs no file beside it."""
    return MetadataValue.md(f"![picture](data:image/png;base64,{base64.b64encode(png).decode()})")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value).replace("|", "\\|").replace("\n", " ")
