"""Logs written by hand, byte for byte as the loggers write them: no torch, no Lightning."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

Scalars = Iterable[tuple[int, Mapping[str, float]]]
"""Step and its values, in the order in which they were logged."""


def write_events(folder: Path, scalars: Scalars, second: int = 1) -> Path:
    """An event file; ``second`` is when it was opened, which its name says."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"events.out.tfevents.{second}.host.1.0"
    events = [Event(file_version="brain.Event:2")]
    for step, values in scalars:
        events += [
            Event(step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))
            for tag, value in values.items()
        ]
    path.write_bytes(b"".join(framed(event.SerializeToString()) for event in events))
    return path


def framed(record: bytes) -> bytes:
    """One record; the reader does not look at the checksums."""
    return struct.pack("<QI", len(record), 0) + record + struct.pack("<I", 0)


def write_csv(folder: Path, scalars: Scalars) -> Path:
    """A ``metrics.csv`` with one row for each entry."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = list(scalars)
    names = sorted({name for _, values in rows for name in values} | {"step"})
    cells = [",".join(_cell(name, step, values) for name in names) for step, values in rows]
    path = folder / "metrics.csv"
    path.write_text("\n".join([",".join(names), *cells]) + "\n", encoding="utf-8")
    return path


def _cell(name: str, step: int, values: Mapping[str, float]) -> str:
    return str(step) if name == "step" else str(values.get(name, ""))


def plain_run(values: Iterable[float], name: str = "val_loss", lr: float | None = 0.1, steps: int = 10) -> Scalars:
    """What Lightning logs in an epoch: the rate and the training loss, the validation, the epoch."""
    for epoch, value in enumerate(values):
        step = (epoch + 1) * steps - 1
        rate = {} if lr is None else {"lr-SGD": lr}
        yield step - 5, {**rate, "train_loss_step": 2.0 / (1 + epoch)}
        yield step, {name: value, "epoch": float(epoch)}
        yield step, {"train_loss_epoch": 2.0 / (1 + epoch), "epoch": float(epoch)}
