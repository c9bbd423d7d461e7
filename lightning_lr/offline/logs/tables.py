"""A file of rows → names and numbers: a text table, JSON records, or the printed lines of a training loop.

Any separator, with or without a byte order mark, compressed or not, tidy or by hand.
"""

from __future__ import annotations

import ast
import codecs
import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from lightning_lr.engine.history.metric_names import DATA, FALLS, RISES, words
from lightning_lr.errors import LogError
from lightning_lr.offline.logs.column_roles import EPOCH, STEP

TABLE, JSON, TEXT = "table of metrics", "JSON records", "text log"
"""What a file may hold, in words."""

SEPARATORS = (",", ";", "\t", "|")

HEAD = 1 << 16
"""Bytes within which the line of names ends."""

_BLANKS = (re.compile(r"\s{2,}"), re.compile(r"\s+"))
"""Columns set side by side: names may hold single blanks, or none."""

_DRESSED = re.compile(r"(?:tensor\()?([-+.\deE]+)(?:,.*\)|\)|\s*%)")
"""A printed tensor, a percentage."""

_COMMA = re.compile(r"\s*([-+]?\d+),(\d+(?:[eE][-+]?\d+)?)\s*%?\s*")
"""A number with a decimal comma."""

_PAIR = re.compile(
    rf"((?:\b(?:{'|'.join(sorted(DATA))})[ _/-]+)?\b[a-z_][\w./@-]*)\s*[:=]\s*"
    r"([-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|\.\d+|nan\b|inf(?:inity)?\b))",
    re.IGNORECASE,
)
"""A name and its number in a printed line."""

_IS_JSON = re.compile(r'\s*(?:\{\s*["}]|\[\s*[\[{\]\d])')

_EPOCH = re.compile(r"\bepoch\b\W{0,3}(\d+)", re.IGNORECASE)

Row = Mapping[int, float]
"""The numbers of a row by the place of their column."""


@dataclass(frozen=True)
class Table:
    """A file of rows that was opened.

    Attributes:
        path: where it lies.
        kind: one of :data:`TABLE`, :data:`JSON`, :data:`TEXT`.
        names: of its columns.
        rows: one after the other, each time from the first on; cells without a number are left out.
    """

    path: Path
    kind: str
    names: tuple[str, ...]
    rows: Callable[[], Iterator[Row]]


def open_table(path: Path) -> Table:
    """Find out what a file holds, and the names of its columns.

    Raises:
        LogError: if it is no text, or cannot be read as what it seems to be.
    """
    try:
        with _binary(path) as file:
            head = file.read(HEAD)
    except (OSError, EOFError, zlib.error) as error:
        raise _no_table(path, str(error)) from error
    encoding = _encoding(path, head)
    text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(head)
    if len(list(_printed_records(text.splitlines()))) > 1:
        return _of_records(path, TEXT, list(_printed_records(_whole(path, encoding).splitlines())))
    if _IS_JSON.match(text):
        return _of_records(path, JSON, _json_records(path, _whole(path, encoding)))
    return _delimited(path, encoding, [line for line in text.splitlines() if line.strip()])


def _binary(path: Path) -> Any:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _text(path: Path, encoding: str) -> TextIO:
    opened: Any = gzip.open if path.suffix == ".gz" else open
    file: TextIO = opened(path, "rt", encoding=encoding, errors="replace", newline="")
    return file


def _whole(path: Path, encoding: str) -> str:
    with _text(path, encoding) as file:
        return file.read()


def _encoding(path: Path, head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in head:
        raise _no_table(path, "it holds NUL bytes; a text in UTF-16 without its mark is to be saved as UTF-8")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"


# --- a table with separators ------------------------------------------------------------------------------------------


def _delimited(path: Path, encoding: str, lines: list[str]) -> Table:
    """A table: its first line holds the names, or the last of those that begin with a mark, as numpy.savetxt writes."""
    marked = next((place for place, line in enumerate(lines) if not line.startswith("#")), len(lines))
    below = lines[marked : marked + 1]
    begins = marked - 1 if marked and (not below or _begins_with_number(below[0])) else marked
    first = lines[begins].removeprefix("#").strip() if begins < len(lines) else ""
    separator = max(SEPARATORS, key=lambda s: len(next(csv.reader([first], delimiter=s), [])))
    separator = separator if separator in first else ""
    names = next(csv.reader([first], delimiter=separator), []) if separator else _apart(first, ())
    named = tuple(name.strip() for name in names)

    def rows() -> Iterator[Row]:
        try:
            with _text(path, encoding) as file:
                cells: Iterable[list[str]]
                if separator:
                    cells = csv.reader(file, delimiter=separator, skipinitialspace=True)
                else:
                    cells = (_apart(line, named) for line in file)
                seen = 0
                for row in cells:
                    numbers = dict(_numbers(row, len(named))) if seen > begins else {}
                    if numbers:
                        yield numbers
                    seen += seen <= begins and any(cell.strip() for cell in row)
        except csv.Error as error:
            raise _no_table(path, str(error)) from error

    return Table(path, TABLE, named, rows)


def _begins_with_number(line: str) -> bool:
    return number(re.split(r"[\s,;|]", line.strip(), maxsplit=1)[0]) is not None


def _apart(line: str, names: tuple[str, ...]) -> list[str]:
    """The cells of a line without a separator, as those of the line of names."""
    line = line.strip().removeprefix("#").strip()
    wide = any(" " in name for name in names)
    apart = _BLANKS[0].split(line)
    return apart if wide or (not names and len(apart) > 1) else _BLANKS[1].split(line)


def _numbers(row: list[str], columns: int) -> Iterator[tuple[int, float]]:
    for place, cell in enumerate(row[:columns]):
        if cell:  # most are empty in a table of Lightning: each row holds what was logged by one call
            value = number(cell)
            if value is not None:
                yield place, value


def number(cell: str) -> float | None:
    """The number in a cell; ``None`` if there is none.

    >>> number("0.5"), number(" 12.5 %"), number("tensor(0.25, device='cuda:0')"), number("00:12"), number("nan")
    (0.5, 12.5, 0.25, None, nan)
    >>> number("0,5"), number("a, b")
    (0.5, None)
    """
    try:
        return float(cell)
    except ValueError:
        dressed, comma = _DRESSED.fullmatch(cell.strip()), _COMMA.fullmatch(cell)
    try:
        return float(dressed[1]) if dressed else float(f"{comma[1]}.{comma[2]}") if comma else None
    except ValueError:
        return None


# --- records with names -----------------------------------------------------------------------------------------------


def _of_records(path: Path, kind: str, records: list[Mapping[str, float]]) -> Table:
    places = {name: place for place, name in enumerate(dict.fromkeys(chain.from_iterable(records)))}
    rows = [{places[name]: value for name, value in record.items()} for record in records]
    return Table(path, kind, tuple(places), lambda: iter(rows))


def _json_records(path: Path, text: str) -> list[Mapping[str, float]]:
    """One object a line, a list of objects, or an object of lists (Keras' ``history``)."""
    try:
        try:
            found = json.loads(text)
        except ValueError:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
        if isinstance(found, dict):
            columns = {name: values for name, values in found.items() if isinstance(values, list)}
            longest = max(map(len, columns.values()), default=0)
            if columns:
                found = [{name: v[place] for name, v in columns.items() if place < len(v)} for place in range(longest)]
        records = found if isinstance(found, list) else [found]
        return [dict(flat_numbers(record, f"{data}/" if (data := _data_of(record)) else "")) for record in records]
    except (ValueError, AttributeError, TypeError, RecursionError, OverflowError) as error:
        raise LogError(
            f"Expected JSON objects with numbers in {path}, one a line or in one list, but it holds others; "
            "it may be cut off."
        ) from error


def _data_of(record: Mapping[str, Any]) -> str:
    """On which data a record was measured, if that is recorded (OpenMMLab: ``"mode": "val"``)."""
    return next((word for key in ("mode", "split", "phase") if (word := record.get(key)) in DATA), "")


def flat_numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a nested object by their whole names; what counts steps or epochs has no prefix.

    >>> list(flat_numbers({"epoch": 3, "val": {"loss": 0.5, "worst": "NaN"}, "note": "x"}))
    [('epoch', 3.0), ('val.loss', 0.5), ('val.worst', nan)]
    """
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat_numbers(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)) or value in ("NaN", "Infinity", "-Infinity"):
            counts = set(words(name)) <= STEP | EPOCH
            yield (name if counts and prefix.endswith("/") else prefix + name), float(value)


def _printed_records(lines: Iterable[str]) -> Iterator[Mapping[str, float]]:
    """What a training loop printed: each line with an epoch, its own or the one above it, and metrics.

    >>> list(_printed_records(["Epoch 2/9", "12/12 [===] - 3s - loss: 0.5 - val_loss: 0.75", "saved epoch_2.pt"]))
    [{'loss': 0.5, 'val_loss': 0.75, 'epoch': 2.0}]
    >>> list(_printed_records(["{'eval_loss': 0.5, 'epoch': 1.0}", "{'train_runtime': 9.0, 'train_loss': 0.9}"]))
    [{'eval_loss': 0.5, 'epoch': 1.0}]
    """
    epoch = None
    for line in lines:
        pairs = _printed_dict(line)
        if not pairs:
            found = _EPOCH.search(line)
            epoch = float(found[1]) if found else epoch
            named = {name: float(value) for name, value in _PAIR.findall(line)}
            pairs = {name: value for name, value in named.items() if not set(words(name)) & (EPOCH | STEP)}
            pairs |= {} if epoch is None else {"epoch": epoch}
        if "epoch" in pairs and any(set(words(name)) & (FALLS | RISES) for name in pairs):
            yield pairs


def _printed_dict(line: str) -> dict[str, float]:
    """The numbers of a printed dictionary, as Hugging Face's Trainer prints; empty if there is none."""
    begin, end = line.find("{'"), line.rfind("}")
    try:
        values = ast.literal_eval(line[begin : end + 1]) if -1 < begin < end else {}
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return {}
    # the last one holds the means of the whole run
    cells = values.items() if isinstance(values, dict) and "train_runtime" not in values else ()
    return {str(name): value for name, cell in cells if (value := number(str(cell))) is not None}


def _no_table(path: Path, why: str) -> LogError:
    return LogError(f"Expected a table of metrics in {path} but it is no text table ({why}).")
