"""CSV becomes Parquet, once: decoded by its format, split by DuckDB, all text kept as text, every row with its line.

Nearly every file has a row on every line. Such a file is split as it is, and that it is such a file is seen
afterwards: as many rows as lines, and no error. Any other one is written anew with the number of each line as a first
field, and split by one thread. So a row knows its line, the lines within a quoted field can be told, and no line can
be lost unseen: every line of the file is the beginning or part of a row, empty, or a reject.
"""

import codecs
import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import duckdb

from orchestration.content_hash import quote_identifier
from orchestration.file_format import FORMAT_NAME, FileFormat, literal

LINE, SPANNED = "_line", "_lines_more"  # the line that a row begins in, and how many more it goes over
BLOCK_BYTES = 4 << 20
MAX_ROW_BYTES = 16 << 20  # what is longer is no row: a quote was not closed, or the delimiter is another one
MEMORY_LIMIT = "1GB"
MAX_COLUMNS = 1000
BAD_QUOTE = "a quote that is not closed, or text behind a closed one"


class CsvError(ValueError):
    """A CSV file that cannot be read as its format says: which line, why, and what to do."""


@dataclass(frozen=True)
class Converted:
    """What came of a CSV file.

    Attributes:
        columns: Their names, as the header has them.
        rows: Rows that could be split.
        first_line: The line of the first row, where every row is on the line behind the one before; else None, and
            the column `_line` says it.
        rejects: Lines that belong to none; they are in the file of rejects, with their reason.
        sha256: Of the CSV's bytes as they were read.
    """

    columns: tuple[str, ...]
    rows: int
    first_line: int | None
    rejects: int
    sha256: str


def convert(path: Path, file_format: FileFormat, target: Path, rejects: Path, folder: Path) -> Converted:
    """Writes the rows of a CSV file to Parquet, with their lines in `_line`, and its rejects (line, reason) beside.

    Args:
        path: The CSV file; its first line names the columns.
        file_format: How it is written.
        target: Where the rows go.
        rejects: Where the rejects go; no file is written if there are none.
        folder: For what is larger than memory while this lasts; on the disk that the target is on.

    Raises:
        CsvError: It is not text in this encoding, has no usable header, or has a line beyond all bounds.
    """
    config = {"memory_limit": MEMORY_LIMIT, "temp_directory": str(folder / "spilled")}
    with duckdb.connect(":memory:", config=dict(config)) as connection:
        return _convert_plain(connection, path, file_format, target) or _convert_numbered(
            connection, path, file_format, target, rejects
        )


def _convert_plain(
    connection: duckdb.DuckDBPyConnection, path: Path, file_format: FileFormat, target: Path
) -> Converted | None:
    """Splits the file as it is; None unless every line below the header is a row, and every row a line."""
    if codecs.lookup(file_format.encoding).name != "utf-8":
        return None
    digest, count, returns, last = hashlib.sha256(), 0, 0, b""
    with path.open("rb") as file:
        header = file.readline(MAX_ROW_BYTES).decode("utf-8-sig", errors="replace").rstrip("\r\n")
        file.seek(0)
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            count += block.count(b"\n")
            returns += block.count(b"\r")
            last = block[-1:]
    count += last != b"\n"
    is_quoted = file_format.quote is not None and file_format.quote in header
    # Ends of lines of two kinds, and a header on several lines, are left to the other way.
    if returns not in (0, count) or is_quoted or not header:
        return None
    names, _ = _header(path, [header], file_format)
    try:
        _split(connection, path, names, file_format, target, is_numbered=False, ends="\\r\\n" if returns else "\\n")
    except duckdb.Error:
        return None
    ((rows, errors),) = connection.execute(
        f"select count(*), (select count(*) from errors) from {_parquet(target)}"
    ).fetchall()
    if errors or rows != count - 1:
        return None
    return Converted(tuple(names), rows, 2, 0, digest.hexdigest())


def _convert_numbered(
    connection: duckdb.DuckDBPyConnection, path: Path, file_format: FileFormat, target: Path, rejects: Path
) -> Converted:
    """Splits the file with its lines' numbers in it, and accounts for every line."""
    numbered = target.with_suffix(".numbered")
    try:
        names, first, last, sha256 = _number_lines(path, file_format, numbered)
        _split(connection, numbered, names, file_format, target, is_numbered=True)
        rows, count_rejects = _account(connection, target, rejects, first, last)
        return Converted(tuple(names), rows, None, count_rejects, sha256)
    finally:
        numbered.unlink(missing_ok=True)


def _lines(file: IO[bytes], path: Path, encoding: str, digest: "hashlib._Hash") -> Iterator[list[str]]:
    """The lines of a file without their ends, a block at a time."""
    decoder = codecs.getincrementaldecoder("utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding)()
    rest, seen, mac = "", 0, None
    while True:
        block = file.read(BLOCK_BYTES)
        digest.update(block)
        try:
            text = rest + decoder.decode(block, final=not block)
        except UnicodeError as error:
            before = error.object[: error.start] if isinstance(error, UnicodeDecodeError) else b""
            line = seen + before.count(b"\n") + 1
            raise CsvError(
                f"{path}, about line {line}: the bytes are not {encoding}. Write how the file is encoded into"
                f" {FORMAT_NAME} beside it, for example `encoding: cp1252` (Western Europe), `encoding: gbk` (Chinese)"
                " or `encoding: utf-16`, or export it as UTF-8"
            ) from error
        held = ""
        if block and text.endswith("\r"):  # its \n may come with the next block
            text, held = text[:-1], "\r"
        if mac is None and text:
            mac = "\n" not in text and "\r" in text
        text = text.replace("\r\n", "\n")
        # A lone one ends lines only where nothing else does; elsewhere it is a stray character.
        text = text.replace("\r", "\n" if mac else " ")
        lines = text.split("\n")
        rest = lines.pop() + held
        seen += len(lines)
        if len(rest) > MAX_ROW_BYTES:
            raise CsvError(
                f"{path}, line {seen + 1} is longer than {MAX_ROW_BYTES >> 20} MiB. Deliver a file with a row per line"
            )
        if lines:
            yield lines
        if not block:
            if rest:
                yield [rest]
            return


def _number_lines(path: Path, file_format: FileFormat, target: Path) -> tuple[list[str], int, int, str]:
    """Writes the lines below the header, each with its number as a first field.

    Returns:
        The columns' names, the first line below them and the last of the file, and the SHA-256 of its bytes.
    """
    digest, delimiter = hashlib.sha256(), file_format.delimiter
    numbered = f"%d{delimiter.replace('%', '%%')}%s".__mod__
    names: list[str] | None = None
    first = count = 0
    with path.open("rb") as given, target.open("w", encoding="utf-8", newline="") as written:
        for block in _lines(given, path, file_format.encoding, digest):
            lines = block
            if names is None:
                names, taken = _header(path, lines, file_format)
                count, first = taken, taken + 1
                lines = lines[taken:]
            if lines:
                written.write("\n".join(map(numbered, enumerate(lines, count + 1))))
                written.write("\n")
                count += len(lines)
    if names is None:
        raise CsvError(f"{path} has no header. Deliver the file with the columns' names in its first line")
    return names, first, count, digest.hexdigest()


def _header(path: Path, lines: list[str], file_format: FileFormat) -> tuple[list[str], int]:
    """The columns' names, and how many lines they take."""
    reader = csv.reader(
        lines,
        delimiter=file_format.delimiter,
        quotechar=file_format.quote,
        quoting=csv.QUOTE_MINIMAL if file_format.quote else csv.QUOTE_NONE,
    )
    try:
        names = [name.replace("\0", "").strip() for name in next(reader)]
    except (StopIteration, csv.Error) as error:
        raise CsvError(
            f"{path}, line 1 is no header. Deliver the file with the columns' names in its first line"
        ) from error
    if not any(names):
        raise CsvError(f"{path}, line 1 is empty. Deliver the file with the columns' names in its first line")
    if len(names) > MAX_COLUMNS:
        raise CsvError(f"{path}, line 1 has {len(names):,} columns, more than {MAX_COLUMNS:,}. Is it a header?")
    names = [name or f"unnamed_{position}" for position, name in enumerate(names, start=1)]
    positions: dict[str, int] = {}
    for position, name in enumerate(names, start=1):
        other = positions.setdefault(name.lower(), position)
        if other != position:  # not its name: the first line may be a row
            raise CsvError(f"{path}, line 1 has one name for columns {other} and {position}. Leave the one that counts")
    return names, reader.line_num


def _split(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    names: list[str],
    file_format: FileFormat,
    target: Path,
    is_numbered: bool,
    ends: str = "\\n",
) -> None:
    """Writes what can be split to the target; the rest goes to the table `errors` of the connection."""
    fields = {f"field{position}": quote_identifier(name) for position, name in enumerate(names)}
    types = [f"'{field}': 'varchar'" for field in fields]
    columns = [f"{field} as {name}" for field, name in fields.items()]
    if is_numbered:
        types = ["'line': 'bigint'", *types]
        spans = " or ".join(f"contains({field}, chr(10))" for field in fields)
        whole = f"concat({', '.join(fields)})"
        # The numbers of the lines that a field went on in are not its text.
        own = (
            r"case when contains({0}, chr(10)) then regexp_replace({0}, '\n[0-9]+.', chr(10), 'g') else {0} end as {1}"
        )
        columns = [
            f"line as {LINE}",
            f"case when {spans} then length({whole}) - length(replace({whole}, chr(10), '')) else 0 end as {SPANNED}",
            *(own.format(field, name) for field, name in fields.items()),
        ]
    quote = literal(file_format.quote or "")
    connection.execute("drop table if exists errors; drop table if exists scans")
    connection.execute(
        f"copy (select {', '.join(columns)} from read_csv({literal(str(path))}, auto_detect = false, header = false,"
        f" skip = {0 if is_numbered else 1}, columns = {{{', '.join(types)}}},"
        f" delim = {literal(file_format.delimiter)},"
        f" quote = {quote}, escape = {quote}, comment = '', new_line = '{ends}', nullstr = '', strict_mode = true,"
        f" null_padding = false, max_line_size = {MAX_ROW_BYTES}, parallel = {str(not is_numbered).lower()},"
        f" store_rejects = true, rejects_table = 'errors', rejects_scan = 'scans')) to {literal(str(target))}"
        # Building dictionaries of what hardly repeats takes longer than all else.
        " (format parquet, compression snappy, dictionary_size_limit 2000)"
    )


def _account(
    connection: duckdb.DuckDBPyConnection, target: Path, rejects: Path, first: int, last: int
) -> tuple[int, int]:
    """Counts rows and rejects, and writes the rejects.

    Args:
        connection: Has the table `errors` of the reader.
        target: The rows.
        rejects: Where the rejects go.
        first: The first line below the header.
        last: The file's last line.
    """
    connection.execute(
        f"""
        create or replace temp table rejected as
        with
        taken as (
            select {LINE} as line, {LINE} + {SPANNED} as last_line from {_parquet(target)}
            union all select $first - 1, $first - 1
        ),
        gaps as (
            select last_line + 1 as gap_from, lead(line, 1, $last + 1) over (order by line) as gap_to from taken
        ),
        untaken as (select gap_from, unnest(range(gap_from, gap_to)) as line from gaps),
        explained as (
            select
                try_cast(regexp_extract(csv_line, '^[0-9]+') as bigint) as line,
                bool_and(
                    error_type = 'MISSING COLUMNS' and trim(regexp_replace(csv_line, '^[0-9]+.', ''), E' \t') = ''
                ) as is_empty,
                min(
                    case
                        when error_type in ('MISSING COLUMNS', 'TOO MANY COLUMNS')
                            then concat_ws(
                                ' ',
                                try_cast(regexp_extract(error_message, 'Found: ([0-9]+)', 1) as int) - 1,
                                'fields where the header has',
                                try_cast(regexp_extract(error_message, 'Columns: ([0-9]+)', 1) as int) - 1
                            )
                        when error_type = 'UNQUOTED VALUE' then {literal(BAD_QUOTE)}
                        when error_type = 'LINE SIZE OVER MAXIMUM' then 'longer than a row can be'
                        else 'it cannot be split into fields'
                    end
                ) as reason
            from errors
            group by all
        )
        select
            untaken.line,
            coalesce(
                explained.reason,
                -- Of a quote that is still open at the end the reader says nothing.
                case when untaken.line = gap_from then {literal(BAD_QUOTE)} end,
                'part of a row above that cannot be split'
            ) as reject_reason
        from untaken left join explained on untaken.line = explained.line
        where explained.is_empty is not true
        """,
        {"first": first, "last": last},
    )
    count = connection.execute("select count(*) from rejected").fetchall()[0][0]
    rejects.unlink(missing_ok=True)
    if count:
        connection.execute(f"copy (from rejected order by line) to {literal(str(rejects))} (format parquet)")
    rows = connection.execute(f"select count(*) from {_parquet(target)}").fetchall()[0][0]
    return rows, count


def _parquet(path: Path) -> str:
    return f"read_parquet({literal(str(path))})"
