"""Pieces of files in a folder, for whoever needs only their first bytes."""

from collections.abc import Callable
from pathlib import Path

from orchestrator.errors import HostError
from orchestrator.model import RemoteFile


def pieces(top: Path) -> Callable[[RemoteFile, int, int], bytes]:
    """The bytes of a file below ``top`` from the first to before the second, fewer where it ends. That raises
    HostError."""

    def piece(file: RemoteFile, start: int, end: int) -> bytes:
        path = top / file.path
        try:
            with path.open("rb") as stream:
                stream.seek(start)
                return stream.read(end - start)
        except OSError as error:
            raise HostError(f"read {path}", (error.strerror or str(error)).lower(), "look at its folder") from error

    return piece
