"""What engines wrote, and the kernel about them: the port `Logs` of this machine."""

from pathlib import Path

from orchestrator import logfiles
from orchestrator.errors import HostError
from orchestrator.log_follower import LogFollower

MOST = 8 << 20  # characters of a log


class EngineLogs:
    def text(self, log: str) -> str:
        try:
            return logfiles.whole(Path(log))[-MOST:]
        except (OSError, HostError):
            return ""

    def tail(self, log: str, lines: int) -> tuple[str, ...]:
        return logfiles.tail(Path(log), lines)

    def follow(self, log: str) -> LogFollower:
        return LogFollower(Path(log))

    def kernel(self, since: float) -> tuple[str, ...] | None:
        return None

    def cgroup(self, pid: int) -> str:
        return ""

    def oom_kills(self, cgroup: str) -> int | None:
        return None
