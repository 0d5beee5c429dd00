"""A socket through which the first program of a unit is told what to become (`unit_main`)."""

import json
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator import proc
from orchestrator.errors import HostError
from orchestrator.model import Process

PATIENCE = 60.0  # seconds; it takes 50 ms
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


class Handover:
    """``folder`` is one that only this user can enter; ``name`` is whose start it is. Raises HostError."""

    def __init__(self, folder: Path, name: str) -> None:
        self._what = f"start {name}"
        self.path = folder / f"{os.urandom(8).hex()}.sock"
        self._socket = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> "Handover":
        try:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            self._socket.bind(str(self.path))
            self._socket.listen(1)
        except OSError as error:
            self._socket.close()
            raise HostError(self._what, f"{self.path}: {error.strerror or error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def give(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> Process:
        """Returns the process as it was before it became the engine, when it has."""
        text = json.dumps({"argv": list(argv), "env": dict(env), "cwd": str(cwd)}).encode()
        self._socket.settimeout(PATIENCE)
        try:
            line = self._socket.accept()[0]
            with line:
                line.settimeout(PATIENCE)
                pid, uid, _ = _CREDENTIALS.unpack(
                    line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
                )
                if uid != os.getuid():
                    why = f"another user's process (pid {pid}, uid {uid}) came in place of its unit"
                    raise HostError(self._what, why, "see what that is")
                row = proc.read(pid)
                line.sendall(text)
                line.shutdown(socket.SHUT_WR)
                complaint = line.makefile("rb").read().decode(errors="replace")
        except OSError as error:
            why = f"its unit did not take what it was to run: {error.strerror or error}"
            raise HostError(self._what, why, "see `journalctl --user`") from error
        if complaint:
            raise HostError(f"execute {argv[0]}", complaint, "check the runtime that the environment names")
        if row is None:
            raise HostError(self._what, "its process vanished", "see `journalctl --user`")
        return row
