"""A text table → names and rows of numbers: any separator, with or without a byte order mark, tidy or by hand."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lightning_lr.errors import LogError

SEPARATORS = (",", ";", "\t", "|")

HEAD = 1 << 16
"""Bytes within which the line of names ends."""

_BLANKS = (re.compile(r"\s{2,}"), re.compile(r"\s+"))
"""Columns set side by side: names may hold single blanks, or none."""

_DRESSED = re.compile(r"(?:tensor\()?([-+.\deE]+)(?:,.*\)|\)|\s*%)")
"""A printed tensor, a percentage."""

Split = Callable[[str], list[str]]


@dataclass(frozen=True)
class Table:
    """A text table that was opened.

    Attributes:
        path: where it lies.
        names: of its columns.
        separator: between two cells; empty for blanks.
        encoding: as its first bytes tell.
    """

    path: Path
    names: tuple[str, ...]
    separator: str
    encoding: str

    def rows(self) -> Iterator[Mapping[int, float]]:
        """The numbers of each row by the place of their column, one row after the other; other cells are left out.

        Raises:
            LogError: if it is no text.
        """
        split = _splitter(self.separator, self.names)
        try:
            with self.path.open(encoding=self.encoding, newline="") as file:
                if self.separator:
                    cells: Iterator[list[str]] = csv.reader(file, delimiter=self.separator, skipinitialspace=True)
                else:
                    cells = (split(line.strip()) for line in file)
                begun = False
                for row in cells:
                    numbers = dict(_numbers(row, len(self.names), self.separator != ",")) if begun else {}
                    if numbers:
                        yield numbers
                    begun = begun or any(cell.strip() for cell in row)
        except (UnicodeDecodeError, csv.Error) as error:
            raise _no_table(self.path, str(error)) from error


def open_table(path: Path) -> Table:
    """Read the line of names.

    Raises:
        LogError: if it is no text.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError as error:
        raise _no_table(path, str(error)) from error
    lines = [line for line in text.splitlines() if line.strip()]
    first = lines[0] if lines else ""
    separator = max(SEPARATORS, key=lambda s: len(next(csv.reader([first], delimiter=s), [])))
    separator = separator if separator in first else ""
    names = next(csv.reader([first], delimiter=separator), []) if separator else _splitter("", ())(first)
    # numpy.savetxt begins the line of names with a mark
    named = [name.strip().removeprefix("#").strip() for name in names]
    return Table(path, tuple(named), separator, encoding)


def _splitter(separator: str, names: tuple[str, ...]) -> Split:
    """How a line without a separator falls into cells: as the line of names does."""
    wide = any(" " in name for name in names)

    def split(line: str) -> list[str]:
        line = line.strip().removeprefix("#").strip()
        apart = _BLANKS[0].split(line)
        return apart if wide or (not names and len(apart) > 1) else _BLANKS[1].split(line)

    return split


def _numbers(row: list[str], columns: int, comma: bool) -> Iterator[tuple[int, float]]:
    for place, cell in enumerate(row[:columns]):
        if cell:  # most are empty in a table of Lightning: each row holds what was logged by one call
            value = number(cell, comma)
            if value is not None:
                yield place, value


def number(cell: str, comma: bool = False) -> float | None:
    """The number in a cell; ``None`` if there is none.

    Args:
        cell: its text.
        comma: whether a comma may stand for the decimal point.

    >>> number("0.5"), number(" 12.5 %"), number("tensor(0.25, device='cuda:0')"), number("00:12"), number("nan")
    (0.5, 12.5, 0.25, None, nan)
    >>> number("0,5"), number("0,5", comma=True)
    (None, 0.5)
    """
    try:
        return float(cell)
    except ValueError:
        dressed = _DRESSED.fullmatch(cell.strip())
        if dressed is None and not (comma and "," in cell):
            return None
    try:
        return float(dressed[1] if dressed else cell.replace(",", "."))
    except ValueError:
        return None


def _no_table(path: Path, why: str) -> LogError:
    return LogError(f"Expected a table of metrics in {path} but it is no text table ({why}).")
