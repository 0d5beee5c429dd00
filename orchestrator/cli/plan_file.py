"""A saved plan between `orch plan --out FILE` and `orch apply --plan FILE`: the file, and the planner that it makes."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from orchestrator import __version__, saved
from orchestrator.cli.context import Context
from orchestrator.cli.recorded import pinned
from orchestrator.controller import Planner
from orchestrator.errors import HostError, InputError, StalePlan
from orchestrator.files import write_text
from orchestrator.find import display
from orchestrator.model import Deployment, Observed
from orchestrator.plan import Plan
from orchestrator.ports import Eyes
from orchestrator.reconcile import Options, reconcile
from orchestrator.resolve import as_before
from orchestrator.saved import Origin, Saved

MOST = 64 << 20  # bytes; a plan of 1,000 deployments has 2 MB


def check_place(file: str) -> None:
    """Whether a plan could be kept there, said before the host is looked at. Raises HostError."""
    path = Path(os.path.realpath(file))
    if path.exists() and not path.is_file():
        raise _unwritable(file, "it is a folder" if path.is_dir() else "it is not a regular file")
    if not path.parent.is_dir():
        raise _unwritable(file, f"there is no folder {display(path.parent)}")


def keep(
    file: str,
    here: Context,
    plan: Plan,
    desired: Sequence[Deployment],
    seen: Observed,
    options: Options,
    declared: str = "",
) -> None:
    """For this user's eyes only (0600), whole or not at all."""
    kept = saved.save(plan, desired, seen, options, _origin(here, declared), time.time())
    try:
        write_text(Path(os.path.realpath(file)), saved.write(kept))
    except OSError as error:
        raise _unwritable(file, error.strerror or str(error)) from error


def _unwritable(file: str, why: str) -> HostError:
    return HostError(f"write the plan to {file}", why, "name another file")


def _origin(here: Context, declared: str = "") -> Origin:
    root = os.path.realpath(here.root)
    return Origin(__version__, here.eyes.state.project, os.uname().nodename, root, declared)


@dataclass(frozen=True, slots=True)
class PlanFile:
    file: str
    saved: Saved
    here: Context

    @classmethod
    def read(cls, file: str, here: Context) -> "PlanFile":
        """Raises InputError for what cannot be carried out here."""
        return cls(file, saved.read(_read(file), _origin(here), file), here)

    def written(self, eyes: Eyes) -> tuple[Deployment, ...]:
        """The plan's deployments as the files have them, or as they are pinned, at the plan's commits. Raises StalePlan
        where they changed."""
        kept = self.saved.desired
        if gone := [
            f"{one.name}: its profile {display(one.file)} is gone" for one in kept if not Path(one.file).exists()
        ]:
            raise self._stale(gone)
        found: list[Deployment] = []
        for given, some in groupby(sorted(kept, key=lambda one: one.given), lambda one: one.given):
            found += self.here.written([one.file for one in some], eyes, given, quiet=False)
        found = found if self.saved.unpin else list(pinned(found, eyes))
        chosen = {one.name: one.spec for one in kept}
        found = [as_before(one, chosen.get(one.name)) for one in found]
        if changed := saved.rewritten(self.saved, found):
            raise self._stale(changed)
        return saved.at_commits(self.saved, found)

    def planner(self, desired: Sequence[Deployment]) -> Planner:
        """Makes the plan that was saved, or raises StalePlan: whatever else would be carried out was never shown."""

        def plan(seen: Observed) -> Plan:
            if changed := saved.moved(self.saved, desired, seen):
                raise self._stale(changed)
            found = reconcile(desired, seen, self.saved.options)
            if changed := saved.replanned(self.saved, found):
                raise self._stale(changed)
            return found

        return plan

    def _stale(self, changed: Sequence[str]) -> StalePlan:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.saved.made))
        do = f"make another, and look at it: `orch plan --out {self.file}`"
        error = StalePlan(f"carry out the plan in {self.file}", f"what it was made from, at {at}, has changed", do)
        error.tail = tuple(changed)
        return error


def _read(file: str) -> str:
    what = f"read the plan in {file}"
    try:
        if Path(file).exists() and not Path(file).is_file():
            raise InputError(what, "it is not a regular file")
        with Path(file).open("rb") as stream:
            data = stream.read(MOST + 1)
    except (OSError, ValueError) as error:
        do = "make it with `orch plan --out FILE`" if isinstance(error, FileNotFoundError) else ""
        raise InputError(what, (getattr(error, "strerror", None) or str(error)).lower(), do) from error
    if len(data) > MOST:
        raise InputError(what, "it is larger than any plan", "name another file")
    return data.decode(errors="replace")
