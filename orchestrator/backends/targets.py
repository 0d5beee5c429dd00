"""All targets as one. A new one is a file beside this and a line in each of the two tables."""

from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator import proc
from orchestrator.backends import cgroups
from orchestrator.backends.local import Local, LocalReader
from orchestrator.backends.systemd import Systemd, SystemdReader
from orchestrator.model import Attempt, Backend, Exit, Instance, Launch, Marker
from orchestrator.ports import Say, Target, TargetReader
from orchestrator.user_manager import UserManager

Variables = Mapping[str, str]

READERS: Mapping[Backend, Callable[[Variables], TargetReader]] = {
    "local": lambda _: LocalReader(cgroups.pids),
    "systemd": lambda variables: SystemdReader(UserManager(variables)),
}
TARGETS: Mapping[Backend, Callable[[Variables], Target]] = {
    "local": lambda _: Local(elsewhere=cgroups.pids),
    "systemd": lambda variables: Systemd(UserManager(variables)),
}


class TargetsReader:
    """``variables`` is the environment of whoever runs orch."""

    def __init__(self, variables: Variables) -> None:
        self._readers = {backend: make(variables) for backend, make in READERS.items()}

    @property
    def boot(self) -> str:
        return proc.boot_id()

    def list(self, project: str, attempts: Mapping[Marker, Attempt]) -> tuple[Instance, ...]:
        found = (one for reader in self._readers.values() for one in reader.list(project, attempts))
        return tuple(sorted(found, key=lambda one: (one.started_at or 0.0, one.marker.attempt)))

    def everywhere(self) -> tuple[Instance, ...]:
        return tuple(one for reader in self._readers.values() for one in reader.everywhere())

    def ended(self, marker: Marker, attempt: Attempt) -> Exit | None:
        backend: Backend = "local" if attempt.adopted else attempt.deployment.spec.backend
        return self._readers[backend].ended(marker, attempt)


class Targets(TargetsReader):
    def __init__(self, variables: Variables) -> None:
        super().__init__(variables)
        self._targets = {backend: make(variables) for backend, make in TARGETS.items()}

    def check(self, backend: Backend, say: Say) -> None:
        self._targets[backend].check(backend, say)

    def start(self, marker: Marker, launch: Launch, secrets: Mapping[str, str], log: Path) -> Instance:
        return self._targets[launch.backend].start(marker, launch, secrets, log)

    def stop(self, instance: Instance, drain: float) -> None:
        self._targets[instance.backend].stop(instance, drain)

    def wait(self, instance: Instance, seconds: float) -> Exit | None:
        return self._targets[instance.backend].wait(instance, seconds)

    def forget(self, project: str, name: str) -> None:
        for target in self._targets.values():
            target.forget(project, name)
