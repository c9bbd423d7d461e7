"""The file of results: one JSON object a line, appended as runs end. A long benchmark can be stopped at any time.

A line belongs to a *key* (task, method, start, seed) and to a state of the code (``code``). A key that has a line of
the present code is skipped; where several lines bear one key, the last one counts.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.any_start.methods import Method, plain
from benchmarks.any_start.tasks import STARTS, Task
from benchmarks.any_start.training import PROTOCOL, Record

RESULTS = Path(__file__).with_name("results.jsonl")
Key = tuple[str, str, float, int]


def key_of(record: Record) -> Key:
    """What a line is about."""
    return record["task"], record["method"], float(record["start"]), int(record["seed"])


def read(*paths: Path) -> list[Record]:
    """The lines of these files, in order. A last line that was cut off is left out: its run is done again."""
    lines = (line for path in paths if path.exists() for line in path.read_text().splitlines())
    return [record for line in lines if (record := _parsed(line)) is not None]


def _parsed(line: str) -> Record | None:
    try:
        return json.loads(line)  # type: ignore[no-any-return]
    except json.JSONDecodeError:
        return None


def append(path: Path, record: Record) -> None:
    """One line, in one write: two benchmarks may share the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cut_off = path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        file.write(("\n" if cut_off else "") + json.dumps(record, allow_nan=False) + "\n")


def latest(records: Iterable[Record]) -> dict[Key, Record]:
    """The last line of each key."""
    return {key_of(record): record for record in records}


def runs(
    tasks: Iterable[Task], methods: Iterable[Method], starts: Iterable[float], seeds: int
) -> Iterator[tuple[Task, Method, float, int]]:
    """All tasks with one seed first, then the others. What ignores the start runs from the right one only."""
    for seed in range(seeds):
        for task in tasks:
            for method in methods:
                for start in [1.0] if method.ignores_start else starts:
                    yield task, method, start, seed


def spread(records: Iterable[Record], methods: dict[str, Method]) -> list[Record]:
    """A method that ignores the start ends alike from each: its one line stands for all of them."""
    copies = []
    for record in records:
        method = methods.get(record["method"])
        starts = STARTS if method is not None and method.ignores_start else (record["start"],)
        copies += [record | {"start": start} for start in starts]
    return copies


def code_tag(task: Task, method: Method) -> str:
    """Changes with what is trained and how, not with the machine, a comment, a docstring or a type."""
    seen: dict[str, str] = {}
    for thing in (task.data, task.model, method.configure, method.callbacks, plain):
        _gather(thing, seen)
    parts: list[Any] = [PROTOCOL, sorted(seen.items()), method.name]
    parts += [(f.name, getattr(method, f.name)) for f in fields(method) if f.name not in ("configure", "callbacks")]
    parts += [(f.name, getattr(task, f.name)) for f in fields(task) if f.name not in ("data", "model")]
    if method.ours:
        parts.append(_package())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _gather(thing: Any, seen: dict[str, str]) -> None:
    """What a function or a class says, and all that it names in this benchmark."""
    name = f"{thing.__module__}.{thing.__qualname__}"
    if name in seen:
        return
    if thing.__name__ == "<lambda>":  # has no source of its own
        names = set(thing.__code__.co_names)
        seen[name + repr(sorted(names))] = ""
    else:
        tree = _bare(textwrap.dedent(inspect.getsource(thing)))
        seen[name] = ast.dump(tree)
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    known = vars(sys.modules[thing.__module__])
    for other in (known[name] for name in sorted(names & known.keys())):
        if getattr(other, "__module__", "").startswith("benchmarks.any_start") and hasattr(other, "__qualname__"):
            _gather(other, seen)


def _bare(source: str) -> ast.AST:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            del body[0]
        for word in ("annotation", "returns"):
            if hasattr(node, word):
                setattr(node, word, None)
    return tree


@cache
def _package() -> str:
    """Our callback is what it imports, as it lies there when the benchmark starts."""
    import lightning_lr

    root = Path(lightning_lr.__file__).parent
    rooms = ("engine", "optim", "run", "snapshot", "callbacks")
    files = [path for room in rooms for path in sorted((root / room).rglob("*.py"))]
    return hashlib.sha256(repr([ast.dump(_bare(path.read_text())) for path in files]).encode()).hexdigest()
