"""`orch watch`: keeps a project as its files and its records want it, by the same turn as `apply`, again and again.

Level-based: whatever woke it, it looks at the whole and asks what is due (`policy`). Woken by the end of a process, a
change of a file or of a record, a time that has come. What is to be done is an errand (`duties`) of its own process;
this one only looks, and so stays small and in time.
"""

import math
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from orchestrator import duties, lookout, proc, supervision, watchers
from orchestrator.bell import Bell
from orchestrator.errand import Errands
from orchestrator.errors import HostError
from orchestrator.filewatch import FileWatch
from orchestrator.history import attempts
from orchestrator.liveness import LIMITS, Limits
from orchestrator.log_keeper import LOGS, LogKeeper
from orchestrator.lookout import Lookout, Patient, patients
from orchestrator.model import Exit, Instance, Json, Record, Watcher
from orchestrator.plan import Plan
from orchestrator.policy import due, wait
from orchestrator.ports import Eyes, Pulse, World
from orchestrator.reaper import become_reaper, reap
from orchestrator.vitals import vital

RESYNC = 600.0
"""Seconds between two looks at the files when nobody says that they changed: a secret was rotated, a disk is shared."""
ARMED = 1.0
"""Seconds after which a watch on folders is on for sure."""
EXITS_KEPT = 100
FILES, PULSE, CANARY = "FILES", "PULSE", "CANARY "
"""Keys of errands, beside those about a deployment, whose names have small letters."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What is watched, and how. ``world`` is made in an errand's own process; ``folder`` is the project's state."""

    eyes: Eyes
    pulse: Pulse
    world: Callable[[], World]
    wanted: duties.Wanted
    folders: Iterable[Path]
    folder: Path
    paths: tuple[str, ...]
    say: Callable[[str], None]
    text: Callable[[Plan], str]
    plans_only: bool = False
    unit: str = ""
    every: float = lookout.EVERY
    limits: Limits = LIMITS


@dataclass(slots=True)
class _Pause:
    """After ``failures`` in a row nothing is tried before ``until``, monotonic seconds."""

    failures: int = 0
    until: float = 0.0

    def fail(self, now: float, *, final: bool = False) -> None:
        """``final``: only somebody else can change it, so it is not tried before the next resync."""
        self.failures += 1
        self.until = now + (RESYNC if final else wait(self.failures + 2, 0.0))


class Watch:
    def __init__(self, charge: Charge) -> None:
        self.charge = charge
        self._bell = Bell()
        self._files = FileWatch(self._changed, charge.say)
        self._errands = Errands(self._settle)
        self._lookout = Lookout(charge.limits)
        self._logs = LogKeeper(charge.folder)
        self._patients: tuple[Patient, ...] = ()
        self._exits: dict[int, Exit] = {}  # of processes that were not errands
        self._pauses: dict[str, _Pause] = {}
        self._names: frozenset[str] | None = None  # of the set, once the files were good
        self._edited = True
        self._next_resync = 0.0
        self._look_again = math.inf  # monotonic seconds, as the two others
        self._last_pulse = time.monotonic()
        self._next_pulse = self._last_pulse + charge.every
        self._strange: set[str] = set()  # attempts that live and are on no record
        self._begun: frozenset[str] | None = None  # attempts that persons began
        self._shown = ""
        self._asked: list[int] = []  # signals that ask it to end
        self._alone = watchers.Alone(charge.folder)
        self._me = self._myself()

    def run(self) -> int:
        """Until it is asked to end: 0 after SIGTERM, 130 after Ctrl-C. What runs goes on. Raises PlanError when
        another watches this project."""
        with self._alone:
            self._say_so()
            self.charge.say(supervision.hello(self._me))
            become_reaper()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda number, _: self._asked.append(number))
            for number in (signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, self._heard)
            try:
                while not self._asked:
                    self._bell.wait(self.turn())
                self._leave()
            finally:
                self._files.close()
                self._bell.close()
        return 130 if self._asked[0] == signal.SIGINT else 0

    # --------------------------------------------------------------------------------------------------- one look

    def turn(self) -> float:
        """Looks, sends what is to be done, and says for how many seconds nothing else is due."""
        self._reap()
        now = time.monotonic()
        records, instances = self._look()
        if self._files.on(self._folders(records.values())):
            self._look_again = now + ARMED  # what was edited while the watch was not on yet
        self._know(records, instances)
        if self._bell.heed(process for one in instances for process in vital(one)):
            # What does that do to the other processes of its engine, or to the plan?
            self._next_pulse, self._edited = 0.0, self._edited or self.charge.plans_only
        waits = [self._follow_files(now)]
        if not self.charge.plans_only:
            mine = [one for _, one in sorted(records.items()) if self._is_mine(one)]
            self._patients = patients(mine, instances)
            self._lookout.keep(self._patients)
            waits += [self._attend(one, duties.living(one.name, instances)) for one in mine]
            waits.append(self._feel(now))
        return max(0.0, min(waits))

    def _look(self) -> tuple[Mapping[str, Record], tuple[Instance, ...]]:
        eyes = self.charge.eyes
        if eyes.state.watcher() is None:  # somebody removed the state
            self._alone.renew()
            self._say_so()
        records = eyes.state.records()
        return records, eyes.target.list(eyes.state.project, attempts(eyes.state.project, records.values()))

    def _know(self, records: Mapping[str, Record], instances: Sequence[Instance]) -> None:
        """What lives and is not on record is the files' business, at once. And how a process ended says nothing of a
        living one that got its number."""
        attempts_known = {one.attempt.id for one in records.values() if one.attempt}
        strange = {one.marker.attempt for one in instances if one.leader and not one.owned} - attempts_known
        # Nor does what a person starts have to be what the files say.
        begun = frozenset(one.attempt.id for one in records.values() if one.attempt and not one.attempt.by)
        begins = self._begun is not None and bool(begun - self._begun)
        self._edited = self._edited or begins or bool(strange - self._strange)
        self._strange, self._begun = strange, begun
        living = {process.pid for one in instances for process in one.processes}
        self._exits = {pid: one for pid, one in self._exits.items() if pid not in living}

    def _follow_files(self, now: float) -> float:
        """Sends an errand about the files when one is due; else the seconds until then."""
        if self._errands.is_out(FILES):
            return RESYNC
        pause = self._pauses.get(FILES)
        at = min(pause.until if pause else self._next_resync, self._look_again)
        if not self._edited and now < at:
            return at - now
        self._edited, self._next_resync, self._look_again = False, now + RESYNC, math.inf
        self._errands.send(FILES, self._about_files)
        return RESYNC

    def _attend(self, record: Record, live: Instance | None) -> float:
        """Sends an errand about it when one is due; else the seconds until then."""
        name, now, eyes = record.name, time.monotonic(), self.charge.eyes
        pause = self._pauses.get(name, _Pause())
        if self._errands.is_out(name):
            return RESYNC
        if pause.until > now:
            return pause.until - now
        task = due(record, live, proc.boot_id(), eyes.clock.now())
        hung = self._lookout.hung.get(live.marker.attempt, "") if live else ""
        if (task.what == "rest" and not hung) or (task.what == "mourn" and self._is_dying(record)):
            return RESYNC
        if task.at is not None:
            return task.at - eyes.clock.now()
        ended = self._exits.pop(record.attempt.pid, None) if record.attempt else None
        self._errands.send(name, lambda: duties.attend(name, ended, hung, self.charge.world()))
        return RESYNC

    def _feel(self, now: float) -> float:
        """Sends for the vital signs of those that serve; the seconds until the next time."""
        if not self._patients or self._errands.is_out(PULSE):
            return RESYNC
        if self._lookout.young(self._patients):
            self._next_pulse = min(self._next_pulse, self._last_pulse + lookout.YOUNG)
        if now >= self._next_pulse:
            self._last_pulse, self._next_pulse = now, now + self.charge.every
            look = partial(lookout.look, self._patients, self.charge.pulse, self.charge.eyes.gpus)
            self._errands.send(PULSE, look)
            self._logs.look((record.name for record, _ in self._patients), self._errands)
        for patient in self._patients:
            attempt = patient[1].marker.attempt
            if attempt in self._lookout.canaries and not self._errands.is_out(CANARY + attempt):
                self._errands.send(CANARY + attempt, partial(lookout.ask, patient, self.charge.pulse, self.charge.eyes))
        return self._next_pulse - now

    def _is_dying(self, record: Record) -> bool:
        """Whether how it ended is about to be heard: it is our child, and some thread of it is not gone yet."""
        row = proc.read(record.attempt.pid) if record.attempt else None
        return row is not None and row.zombie and row.parent == self._me.pid

    def _is_mine(self, record: Record) -> bool:
        """Without PATHs all that is deployed; with them the set that they name, or named when the files were good."""
        if not self.charge.paths:
            return True
        if self._names is not None:
            return record.name in self._names
        file = record.revision.deployment.file if record.revision else ""
        return any(file and Path(file).is_relative_to(Path(path).absolute()) for path in self.charge.paths)

    def _folders(self, records: Iterable[Record]) -> set[Path]:
        """Those of the files; and of the state, for other commands of orch change it."""
        state = self.charge.folder
        files = {Path(one.attempt.deployment.file) for one in records if one.attempt}
        places = {*self.charge.folders, *(file.parent for file in files)}
        links = {one for place in places for one in place.glob("*.y*ml") if one.is_symlink()}
        real = {one.resolve().parent for one in links}
        return {*places, *real, state, *(state / one.name for one in records)}

    # ----------------------------------------------------------------------------------------------------- errands

    def _about_files(self) -> Json:
        charge = self.charge
        if charge.plans_only:
            return duties.report(charge.wanted, charge.eyes, charge.text)
        world = charge.world()
        return duties.follow_files(charge.wanted, world, lambda plan: world.events.say(charge.text(plan)))

    def _settle(self) -> None:
        """In an errand's process."""
        self._bell.abandon()
        os.close(self._alone.handle)

    def _reap(self) -> None:
        ended = reap()
        for key, answer in self._errands.returned(ended):
            self._returned(key, answer)
        self._exits = dict([*self._exits.items(), *ended.items()][-EXITS_KEPT:])

    def _returned(self, key: str, answer: Json) -> None:
        now = time.monotonic()
        if answer.get("idle"):
            self._pauses.setdefault(key, _Pause()).fail(now)
            return
        if error := str(answer.get("error", "")):
            self._pauses.setdefault(key, _Pause()).fail(now, final=bool(answer.get("final")) and key == FILES)
            if not answer.get("said") and (key != FILES or error != self._me.trouble):
                self.charge.say(error)
        else:
            self._pauses.pop(key, None)
        if key == FILES:
            if "names" in answer:
                self._names = frozenset(answer["names"])
            self._show(str(answer.get("plan", "")))
            self._admit(error)
        elif key == LOGS:
            self._logs.heard(answer)
        elif key == PULSE and not error:
            for line in self._lookout.saw(self._patients, answer, now):
                self.charge.say(line)
        elif key.startswith(CANARY) and not error:
            self._lookout.heard(self._patients, key.removeprefix(CANARY), answer, now)

    def _show(self, plan: str) -> None:
        if plan and plan != self._shown:
            self._shown = plan
            self.charge.say(plan)

    def _admit(self, trouble: str) -> None:
        """Where `orch status` reads it."""
        now = replace(self._me, trouble=trouble, names=tuple(sorted(self._names or ())))
        if now != self._me:
            self._me = now
            self._say_so()

    def _say_so(self) -> None:
        with suppress(HostError):
            watchers.say(self.charge.folder, self._me)

    def _leave(self) -> None:
        """Errands finish what may not be torn apart; a second signal leaves them to it."""
        self._errands.end()
        while self._errands and len(self._asked) == 1:
            self._bell.wait(RESYNC)
            self._reap()

    # ------------------------------------------------------------------------------------------------------- events

    def _heard(self, number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            self._edited = True

    def _changed(self, files: frozenset[Path]) -> None:
        """From the thread that watches them. The state's own changes only ask for another look."""
        if any(self.charge.folder not in file.parents and file.suffix in _FILES for file in files):
            self._edited = True
        self._bell.pull()

    def _myself(self) -> Watcher:
        row = proc.read(os.getpid())
        assert row is not None
        now = self.charge.eyes.clock.now()
        paths, unit = self.charge.paths, self.charge.unit
        return Watcher(row.pid, row.start, proc.boot_id(), now, paths, unit, self.charge.plans_only)


_FILES = frozenset((".yaml", ".yml", ".lock"))
