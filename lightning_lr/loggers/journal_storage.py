"""Where the bytes of a journal lie: in a local file, or behind a URL that fsspec opens (``s3://``, ``memory://``).

An object store cannot append. A remote journal is therefore written anew as a whole: at each line while it is small,
then each time it has grown by a twentieth, so that what is sent grows linearly; and at each checkpoint and at the end.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

SMALL = 256 * 1024
"""Bytes up to which a remote journal is written anew at each line."""

GROWTH = 1.05
"""How much longer it must be beyond that."""

LONGEST_LINE = 2**22
"""Bytes of a first line that are read: one header has a policy and its detectors, some kilobytes."""


class Storage(Protocol):
    """One file, read whole and written at its end."""

    path: str

    def reserve(self) -> None:
        """Make an empty file of that name, or of the next free one: a former run's journal is not overwritten."""

    def first_line(self) -> bytes:
        """Its first line, or the begin of it if that is very long."""

    def read(self) -> bytes:
        """All of it."""

    def put(self, size: int, text: bytes) -> None:
        """Cut it back to a size, and append."""

    def overwrite(self, at: int, text: bytes) -> None:
        """Write over as many bytes in its midst."""

    def flush(self) -> None:
        """Write what is held back."""


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a URL.

    >>> is_remote("s3://bucket/logs"), is_remote("logs/version_0")
    (True, False)
    """
    return "://" in str(path)


def storage_at(path: str | os.PathLike[str]) -> Storage:
    """The storage for a path; nothing is opened yet."""
    return RemoteFile(str(path)) if is_remote(path) else LocalFile(str(path))


def beside(folder: str | os.PathLike[str], name: str) -> str:
    """The path of a file in a folder, which may be remote.

    >>> beside("s3://bucket/logs/", "lr_journal.jsonl")
    's3://bucket/logs/lr_journal.jsonl'
    """
    if is_remote(folder):
        return f"{str(folder).rstrip('/')}/{name}"
    return str(Path(folder).absolute() / name)


class LocalFile:
    """A file on a disk; each line is flushed at once."""

    def __init__(self, path: str) -> None:
        self.path = path

    def reserve(self) -> None:
        """Made at once: two runs that start side by side in one folder must not choose the same name.

        Raises:
            OSError: if it is a device: a file beside ``/dev/null`` is not what was asked for.
        """
        path = self._no_device()
        path.parent.mkdir(parents=True, exist_ok=True)
        number, free = 1, path
        while True:
            with suppress(FileExistsError):
                free.touch(exist_ok=False)
                break
            number += 1
            free = path.with_name(numbered(path.name, number))
        self.path = str(free)

    def first_line(self) -> bytes:
        """Its first line, or the begin of it if that is very long.

        Raises:
            OSError: if it is a device, which would never end.
        """
        with self._no_device().open("rb") as file:
            return file.readline(LONGEST_LINE)

    def read(self) -> bytes:
        """All of it."""
        return Path(self.path).read_bytes()

    def put(self, size: int, text: bytes) -> None:
        """Cut it back to a size, and append."""
        try:
            with Path(self.path).open("ab") as file:
                file.truncate(size)
                file.write(text)
        except OSError:
            with suppress(OSError):  # a full disk may have taken half a line
                os.truncate(self.path, size)
            raise

    def overwrite(self, at: int, text: bytes) -> None:
        """Write over as many bytes in its midst."""
        with Path(self.path).open("r+b") as file:
            file.seek(at)
            file.write(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def _no_device(self) -> Path:
        path = Path(self.path)
        if path.exists() and not path.is_file() and not path.is_dir():
            raise OSError("it is no regular file")
        return path


class RemoteFile:
    """A file behind a URL."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._content = bytearray()
        self._written = 0

    def reserve(self) -> None:
        """The next free name; another run that starts in the same instant may choose it too."""
        folder, _, name = self.path.rpartition("/")
        number, free = 1, self.path
        while self._files().exists(free):
            number += 1
            free = f"{folder}/{numbered(name, number)}"
        self.path = free
        self._store()

    def first_line(self) -> bytes:
        """Its first line, or the begin of it if that is very long."""
        return self.read()[:LONGEST_LINE].partition(b"\n")[0]

    def read(self) -> bytes:
        """All of it."""
        self._content = bytearray(self._files().cat_file(self.path))
        self._written = len(self._content)
        return bytes(self._content)

    def put(self, size: int, text: bytes) -> None:
        """Cut it back to a size, and append."""
        cut = size < len(self._content)
        del self._content[size:]
        self._content += text
        if cut or len(self._content) <= SMALL or len(self._content) >= GROWTH * self._written:
            self._store()

    def overwrite(self, at: int, text: bytes) -> None:
        """Write over as many bytes in its midst."""
        self._content[at : at + len(text)] = text
        self._store()

    def flush(self) -> None:
        """Write what is held back."""
        if len(self._content) != self._written:
            self._store()

    def _store(self) -> None:
        self._files().pipe_file(self.path, bytes(self._content))
        self._written = len(self._content)

    def _files(self) -> Any:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # Lightning brings it along

        return url_to_fs(self.path)[0]


def numbered(name: str, number: int) -> str:
    """The name of the second, third … file of a name.

    >>> numbered("lr_journal.jsonl", 2)
    'lr_journal-2.jsonl'
    """
    path = PurePosixPath(name)
    return f"{path.stem}-{number}{path.suffix}"
