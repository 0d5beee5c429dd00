"""What engines wrote, and the kernel about them: the port `Logs` of this machine."""

from pathlib import Path

from orchestrator import kernel_log, logfiles, memory_cgroups
from orchestrator.errors import HostError
from orchestrator.log_follower import LogFollower

MOST = 8 << 20  # bytes of a log


class EngineLogs:
    def text(self, log: str) -> str:
        """Some 0.1 s for 128 MiB, and the memory of what it returns."""
        try:
            return logfiles.whole(Path(log), MOST)
        except (OSError, HostError):
            return ""

    def numbered(self, log: str) -> bool:
        return logfiles.counts(Path(log))

    def tail(self, log: str, lines: int) -> tuple[str, ...]:
        return logfiles.tail(Path(log), lines)

    def follow(self, log: str) -> LogFollower:
        return LogFollower(Path(log))

    def kernel(self, since: float) -> tuple[str, ...] | None:
        return kernel_log.lines(since)

    def cgroup(self, pid: int) -> str:
        return memory_cgroups.folder(pid)

    def oom_kills(self, cgroup: str) -> int | None:
        return memory_cgroups.kills(cgroup)
