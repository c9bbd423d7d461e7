"""The files that the page is made of: ours, and plotly.js as the installed ``plotly`` package carries it.

Each is found by its whole name in a list, so that no request can name any other file.
"""

from __future__ import annotations

import gzip
import importlib.util
from functools import cache
from pathlib import Path

STATIC = Path(__file__).parent / "static"

TYPES = {".js": "application/javascript", ".css": "text/css"}


def static_files() -> dict[str, Path]:
    """Route → file."""
    return {f"/{path.name}": path for path in sorted(STATIC.iterdir()) if path.suffix in TYPES}


def plotly_file() -> Path | None:
    """Where plotly.js lies; ``None`` where plotly is not installed."""
    found = importlib.util.find_spec("plotly")
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder) / "package_data" / "plotly.min.js"
        if path.is_file():
            return path
    return None


@cache
def compressed(path: Path) -> bytes:
    """A file as gzip: 4.8 MB become 1.6, and only for the first request."""
    return gzip.compress(path.read_bytes(), compresslevel=3, mtime=0)
