"""TensorBoard event files → columns.

Every record is read, in the order in which it was written: TensorBoard's own ``EventAccumulator`` samples a tag down to
a reservoir, and its pure Python reader checks sums at a cost of 50 µs a record. The framing is four fields: length, its
checksum, the event, its checksum.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lightning_lr.errors import LogError
from lightning_lr.offline.logs.columns import Log
from lightning_lr.offline.logs.log_readings import logged_run
from lightning_lr.offline.logs.run import Run, Watch

KIND = "TensorBoard event files"
PARTS = ("train", "validation", "val", "valid", "eval", "test")
"""Folders that Keras' and TensorFlow's own loops write beside each other, one for each set of data."""

FILES: tuple[str, ...] = ("*tfevents*", *(f"{part}/*tfevents*" for part in PARTS))
TOGETHER = True


def recognizes(path: Path) -> bool:
    """By the mark that every event file's name bears."""
    return "tfevents" in path.name


def read(paths: Sequence[Path], watch: Watch) -> Run:
    """Read all scalars of a run; the files' names hold the second in which they were opened, so the oldest comes first.

    What lies in a folder of one set of data has its name before it: ``validation/epoch_loss``. Torch's ``add_scalars``
    makes a folder for each of its curves, ``loss_val`` for the tag ``loss``: that is the metric's name.

    Raises:
        LogError: if a file is no event file, or breaks off.
    """
    log = Log()
    folder = Path(os.path.commonpath([path.parent for path in paths]))
    for path in paths:
        prefix = "" if path.parent == folder else f"{path.parent.name}/"
        for step, tag, value in _scalars(path, watch.partial):
            log.add(prefix + tag, step, value)
    for path in sorted(folder.glob("*_*/*tfevents*")):
        for step, tag, value in _scalars(path, watch.partial):
            if path.parent.name.startswith(f"{tag.replace('/', '_')}_"):
                log.add(path.parent.name, step, value)
    return logged_run(paths[0] if len(paths) == 1 else folder, KIND, log, watch)


def _scalars(path: Path, partial: bool) -> Iterator[tuple[int, str, float]]:
    """Step, tag and value of each number of one file."""
    from tensorboard.compat.proto.event_pb2 import Event

    for number, record in enumerate(_records(path, partial)):
        try:
            event = Event.FromString(record)
        except Exception as error:  # protobuf's own DecodeError, of whichever implementation is in use
            raise LogError(f"Expected events in {path} but record {number} is none; the file is damaged.") from error
        if number == 0 and not event.file_version.startswith("brain.Event"):
            raise LogError(f"Expected a TensorBoard event file but {path} is none.")
        for value in event.summary.value:
            scalar = _scalar(value)
            if scalar is not None:
                yield event.step, value.tag, scalar


def _scalar(value: Any) -> float | None:
    """The number of a summary value, as torch writes it or as TensorFlow 2 does; ``None`` for texts and images."""
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    if kind != "tensor" or value.metadata.plugin_data.plugin_name != "scalars":
        return None
    tensor = value.tensor
    if tensor.float_val or tensor.double_val:
        return float((tensor.float_val or tensor.double_val)[0])
    widths = {4: "<f", 8: "<d"}
    content = tensor.tensor_content
    return float(struct.unpack(widths[len(content)], content)[0]) if len(content) in widths else math.nan


def _records(path: Path, partial: bool) -> Iterator[bytes]:
    left = path.stat().st_size
    count = 0
    with path.open("rb") as file:
        while left:
            header = file.read(12)
            length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else left
            if length + 16 > left:
                if not count:
                    raise LogError(f"Expected a TensorBoard event file but {path} is none, or was cut off at once.")
                if partial:
                    return
                raise LogError(
                    f"Expected whole records in {path} but it breaks off after {count} of them. "
                    "If the run goes on, try again; else --partial reads what is there."
                )
            yield file.read(length)
            file.seek(4, 1)
            left -= length + 16
            count += 1
