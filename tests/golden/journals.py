"""Journals as they were recorded: written, read, and held against new ones field by field."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "journals"
CHECKPOINT_KEYS = Path(__file__).parent / "checkpoint_keys.json"
DIGITS = 12
REL_TOL, ABS_TOL = 1e-9, 1e-12
"""Absolute as well: a slope of zero is some rounding error, which another version of Python rounds otherwise."""
MISSING = "(missing)"


@dataclass(frozen=True)
class Difference:
    """One field that is not as it was recorded.

    Attributes:
        line: line of the journal, from 1.
        field: path to the field.
        expected: what was recorded.
        got: what the run gives now.
    """

    line: int
    field: str
    expected: Any
    got: Any

    def __str__(self) -> str:
        return f"line {self.line}, {self.field}\n    expected  {self.expected!r}\n    got       {self.got!r}"


def parsed(lines: Sequence[str]) -> list[dict[str, Any]]:
    """The lines of a journal, without what differs from version to version."""
    records = [json.loads(line) for line in lines]
    for record in records:
        if "version" in record.get("run", {}):
            record["run"]["version"] = "VERSION"
        if "run_id" in record:
            record["run_id"] = "ID"
    return records


def recorded(name: str) -> list[dict[str, Any]]:
    """The journal of a run as it lies here; none where none was recorded."""
    path = FOLDER / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def record(name: str, records: Sequence[dict[str, Any]]) -> None:
    """Write the journal of a run; numbers with fewer digits than rounding errors reach."""
    lines = [json.dumps(_rounded(one), ensure_ascii=False, separators=(",", ":")) for one in records]
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def recorded_keys() -> dict[str, Any]:
    """The keys of the checkpoints as they lie here."""
    return dict(json.loads(CHECKPOINT_KEYS.read_text(encoding="utf-8"))) if CHECKPOINT_KEYS.exists() else {}


def record_keys(keys: dict[str, Any]) -> None:
    """Write the keys of the checkpoints."""
    CHECKPOINT_KEYS.write_text(json.dumps(keys, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def differences(expected: Sequence[Any], got: Sequence[Any]) -> Iterator[Difference]:
    """Whatever is not alike in two journals, in the order of their lines."""
    for number in range(max(len(expected), len(got))):
        for field, one, other in unlike(_at(expected, number), _at(got, number)):
            yield Difference(number + 1, field or "(the line)", one, other)


def unlike(expected: Any, got: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The path of each field in which two values differ, with both: keys in any order, numbers within rounding."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in [*expected, *(key for key in got if key not in expected)]:
            yield from unlike(expected.get(key, MISSING), got.get(key, MISSING), f"{path}.{key}" if path else key)
    elif isinstance(expected, list) and isinstance(got, list):
        for index in range(max(len(expected), len(got))):
            yield from unlike(_at(expected, index), _at(got, index), f"{path}[{index}]")
    elif not _alike(expected, got):
        yield path, expected, got


def _at(items: Sequence[Any], index: int) -> Any:
    return items[index] if index < len(items) else MISSING


def _alike(expected: Any, got: Any) -> bool:
    if isinstance(expected, float) and isinstance(got, float):
        return math.isclose(expected, got, rel_tol=REL_TOL, abs_tol=ABS_TOL)
    return type(expected) is type(got) and bool(expected == got)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if abs(value) > ABS_TOL else 0.0
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
