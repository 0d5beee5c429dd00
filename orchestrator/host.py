"""Facts of this machine: who listens where, secrets where they are kept, files that an engine will need."""

import os
import pwd
import time
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.environ import MARK, read_marker
from orchestrator.errors import HostError
from orchestrator.model import Marker, PortHolder, SecretRef

if TYPE_CHECKING:
    import psutil

_UNSENDABLE = frozenset(("Cc", "Cs", "Zl", "Zp"))  # control characters, lone surrogates, line and paragraph separators


class LocalHost:
    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = variables

    @property
    def user(self) -> str:
        """A service and a container may not have it in a variable."""
        if named := self.variables.get("USER"):
            return named
        try:
            return pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            return ""

    def holders(self, ports: Iterable[int]) -> Mapping[int, PortHolder]:
        import psutil

        wanted = set(ports)
        found: dict[int, PortHolder] = {}
        for row in psutil.net_connections("tcp"):
            if row.status != psutil.CONN_LISTEN or not row.laddr or row.laddr.port not in wanted:
                continue
            held = found.get(row.laddr.port)
            if held is None or not held.pid:
                found[row.laddr.port] = _holder(row.laddr.port, row.pid)
        return found

    def secret(self, name: str, ref: SecretRef) -> str:
        what = f"read the secret {name}"
        if ref.kind == "env":
            value, do = self.variables.get(ref.name, ""), f"export {ref.name}"
            if not value:
                raise HostError(what, f"the variable {ref.name} is not set", do)
        else:
            value, do = _content(what, ref.name), "write the value into that file"
        value = value.strip(" \t\r\n")
        if not value:
            raise HostError(what, f"{ref.name} holds no value", do)
        if any(unicodedata.category(one) in _UNSENDABLE for one in value):
            raise HostError(what, f"{ref.name} holds a line break, a control character or what is not UTF-8", do)
        return value

    def check_model(self, path: str) -> str | None:
        place = Path(path)
        if place.suffix == ".gguf" and place.is_file():
            return None
        if not place.exists():
            return f"{path} does not exist"
        if not place.is_dir():
            return f"{path} is neither a folder nor a .gguf file"
        known = ("config.json", "params.json")
        if any((place / name).is_file() for name in known) or any(place.glob("*.gguf")):
            return None
        return f"{path} holds no config.json"


class SystemClock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def _content(what: str, file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise HostError(what, f"{file}: {why}", "write the value into that file") from None


def _marker(process: "psutil.Process") -> Marker | None:
    import psutil

    try:
        return read_marker(process.environ().get(MARK, ""))
    except (psutil.Error, OSError):  # another user's
        return None


def _holder(port: int, pid: int | None) -> PortHolder:
    import psutil

    if not pid:
        return PortHolder(port)
    try:
        process = psutil.Process(pid)
        return PortHolder(port, pid, process.name(), process.username(), _marker(process))
    except psutil.Error:
        return PortHolder(port)
