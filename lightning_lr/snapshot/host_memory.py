"""How much memory this host still has for this process: the least of what the system, its cgroup and its limits leave.

Plain files and system calls; what a system does not have is left out.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path


def free_memory(root: Path = Path("/")) -> float:
    """Bytes that may still be taken; infinite if it is not known.

    Args:
        root: where ``/proc`` and ``/sys`` lie.

    >>> free_memory() > 0
    True
    """
    return min([*_of_host(root), *_of_cgroups(root), *_of_limits(root)], default=math.inf)


def _of_host(root: Path) -> Iterator[float]:
    for name, number in _pairs(root / "proc/meminfo"):
        if name == "MemAvailable:":
            yield 1024 * number


def _of_cgroups(root: Path) -> Iterator[float]:
    """Each group that this process is in, up to the root: the limit of any of them holds."""
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                top = root / ("sys/fs/cgroup/memory" if controllers else "sys/fs/cgroup")
                inside = top / path.lstrip("/")
                # Within a container the path may be that of the host, and not be there: the top is the container's own.
                yield from (left for folder in {top, inside, *inside.parents} if (left := _left(folder)) is not None)


def _left(folder: Path) -> float | None:
    for limit, used, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with contextlib.suppress(OSError, ValueError):
            most, taken = int((folder / limit).read_text()), int((folder / used).read_text())
            dropped = dict(_pairs(folder / "memory.stat")).get(cache, 0)  # pages of files, which it gives back
            return max(0.0, most - taken + dropped)
    return None


def _of_limits(root: Path) -> Iterator[float]:
    """``ulimit -v``, ``-d`` and ``-m``, less what the process has of each."""
    try:
        import resource
    except ImportError:  # Windows
        return
    held = {name: 1024 * number for name, number in _pairs(root / "proc/self/status")}
    kinds = {"RLIMIT_AS": "VmSize:", "RLIMIT_DATA": "VmData:", "RLIMIT_RSS": "VmRSS:"}
    for kind, name in kinds.items():
        most, _ = resource.getrlimit(getattr(resource, kind)) if hasattr(resource, kind) else (-1, -1)
        if most not in (-1, resource.RLIM_INFINITY):
            yield max(0.0, most - held.get(name, 0))


def _pairs(path: Path) -> list[tuple[str, int]]:
    """The first two words of each line, if the second is a number."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return []
    return [(line[0], int(line[1])) for line in lines if len(line) > 1 and line[1].isdigit()]
