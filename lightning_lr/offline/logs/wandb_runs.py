"""A run that W&B keeps on this machine → columns: ``run-<id>.wandb``, or the older ``wandb-history.jsonl``.

The first is a log of LevelDB's form: blocks of 32 KiB, in them records of four bytes checksum, two of length and one
that says which part of an entry it is; an entry is a protobuf message. Three of its fields are read, by their numbers
in ``wandb/proto/wandb_internal.proto``, so that the client need not be installed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lightning_lr.errors import LogError
from lightning_lr.offline.logs.columns import Log
from lightning_lr.offline.logs.log_readings import logged_run
from lightning_lr.offline.logs.run import Run, Watch
from lightning_lr.offline.logs.tables import flat_numbers

KIND = "W&B run"
SUMMARY = "wandb-summary.json"
FILES: tuple[str, ...] = ("*.wandb", "wandb-history.jsonl", SUMMARY, "files/wandb-history.jsonl", f"files/{SUMMARY}")
TOGETHER = True

BLOCK = 32768
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
HISTORY, ITEM, STEP = 2, 1, 2
"""Fields: the history of a record; the items and the step of a history."""
KEY, NESTED_KEY, VALUE = 1, 2, 16
"""Fields of an item."""


def recognizes(path: Path) -> bool:
    """By its name."""
    return path.suffix == ".wandb" or path.name in ("wandb-history.jsonl", SUMMARY)


def read(paths: Sequence[Path], watch: Watch) -> Run:
    """All numbers of a run's history.

    Raises:
        LogError: if a file breaks off, or there is a summary alone.
    """
    path = min(paths, key=lambda path: (path.suffix != ".wandb", path.name))
    if path.name == SUMMARY:
        raise LogError(
            f"Expected the history of a W&B run beside {path} but that holds the last values alone. Export it: "
            'wandb.Api().run("entity/project/id").history().to_csv("history.csv").'
        )
    log = Log()
    records = _wandb_file(path, watch.partial) if path.suffix == ".wandb" else _json_lines(path)
    for step, values in records:
        for name, value in flat_numbers(values):
            if not name.startswith("_"):
                log.add(name, step, value)
    return logged_run(path, KIND, log, watch)


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
            values = json.loads(line)
            yield int(values.get("_step", number)), values
    except (ValueError, AttributeError) as error:
        raise LogError(f"Expected one JSON object a line in {path} but a line is none; it may be cut off.") from error


def _wandb_file(path: Path, partial: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    data = path.read_bytes()
    if data[:4] != b":W&B":
        raise LogError(f"Expected a W&B run but {path} is none.")
    try:
        for entry in _entries(data):
            for field, history in _fields(entry):
                if field == HISTORY:
                    yield _history(history)
    except (IndexError, struct.error, ValueError) as error:
        if not partial:
            raise LogError(
                f"Expected whole records in {path} but it breaks off. If the run goes on, try again; else --partial "
                "reads what is there."
            ) from error


def _entries(data: bytes) -> Iterator[bytes]:
    """The entries of a LevelDB log, put together from their parts."""
    place, entry = 7, b""  # behind the head of the file
    while place < len(data):
        if BLOCK - place % BLOCK < 7:  # no record begins in the last bytes of a block
            place += BLOCK - place % BLOCK
            continue
        _, length, part = struct.unpack_from("<IHB", data, place)
        place += 7
        if place + length > len(data):
            raise IndexError
        entry = (b"" if part in (FULL, FIRST) else entry) + data[place : place + length]
        place += length
        if part in (FULL, LAST):
            yield entry


def _history(message: bytes) -> tuple[int, dict[str, Any]]:
    step, values = 0, {}
    for field, content in _fields(message):
        if field == STEP:
            step = next((number for _, number in _fields(content)), 0)
        elif field == ITEM:
            item = list(_fields(content))
            key = next((text.decode() for field, text in item if field == KEY), "")
            nested = ".".join(text.decode() for field, text in item if field == NESTED_KEY)
            values[key or nested] = json.loads(next((text for field, text in item if field == VALUE), b"null"))
    return step, values


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Number and content of each field of a protobuf message: bytes, or an integer."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(message, place)
            yield key >> 3, value
            continue
        length, place = _varint(message, place) if kind == 2 else ({1: 8, 5: 4}[kind], place)
        if place + length > len(message):
            raise IndexError
        yield key >> 3, message[place : place + length]
        place += length


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, place
