"""The long description of the package: README.md, with its relative links made absolute.

A package index shows the README without the files beside it. The address comes from ``[project.urls]``, so that it
stands in one place.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)\s]+)\)")
IMAGES = (".png", ".svg")


def with_absolute_links(text: str, repository: str, version: str) -> str:
    """Point relative links at the files of this version: images at their content, others at their page."""

    def absolute(found: re.Match[str]) -> str:
        kind = "raw" if found[1].endswith(IMAGES) else "blob"
        return f"]({repository}/{kind}/v{version}/{found[1]})"

    return LINK.sub(absolute, text)


class LongDescription(MetadataHookInterface):
    """Fills ``readme`` in the metadata."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set it from README.md."""
        root = Path(self.root)
        version = re.search(r'__version__ = "(.+)"', (root / "lightning_lr/__about__.py").read_text(encoding="utf-8"))
        if version is None:
            raise ValueError("Expected __version__ in lightning_lr/__about__.py but found none.")
        text = (root / "README.md").read_text(encoding="utf-8")
        text = with_absolute_links(text, metadata["urls"]["Repository"], version[1])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
