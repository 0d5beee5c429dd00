"""Whether an engine that became ready still serves. Pure: it is given what was seen of one start, oldest first, and
judges. The first rule that holds is the verdict.

    what was seen                                                        suspect            hung
    a vital process is gone or a zombie, and was alive in two looks      -                  at once
    a vital process is stopped (SIGSTOP)                                 at once            30 s, 2 looks
    /health refuses, gives no answer in time or not 200                  at once            2 min, 4 looks
    a lane has requests running, and nothing of it moves                 90 s               3 min, 4 looks
    idle, and a request of one token is not answered                     once               twice in a row

    running, or waiting        busy    counters that move while /health is slow: busy, too
    no request for 5 min       idle    and a canary is due: the one request that shows whether it would serve

One bad look is never enough, but for a process that died: nothing brings that back (a real vLLM 0.32 ends by itself
within 2 s of losing a Worker; its API server may stay). What cuts every streak, because it says that nobody knows, or
that somebody does: a look that was good; a gap of more than 2 min between two looks (the watcher or the machine slept);
a debugger that holds a process; a compiler at work below it (kernels that are built at the first request). An engine
that was put to sleep, or paused, is asked nothing and owes nothing.

What the counters cannot show: they change only when the engine tells the API server something. With an engine that
hung while idle, clients wait and /metrics shows 0 running; hence the canary. An engine whose statistics are turned
off shows no lanes: then the requests that its API server has answered stand for movement.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.units import format_duration

State = Literal["well", "busy", "idle", "suspect", "hung"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, and looks. Each may be raised without making anything hung that was not."""

    stopped: float = 30.0  # whoever sent SIGSTOP on purpose has that long to look around
    silent: float = 120.0  # one API server under a storm of long prompts has been seen to answer nothing for a minute
    stalled: float = 180.0  # a prefill of 100,000 tokens takes tens of seconds a step on a slow card
    idle: float = 300.0  # from the last movement to the canary: a token every five minutes costs nothing
    again: float = 20.0  # from a canary that failed to the next one
    gap: float = 120.0  # between two looks of one streak; several times the pace of whoever looks
    looks: int = 4  # of a streak of silence or standstill
    canaries: int = 2

    @property
    def keep(self) -> float:
        """How far back a judgement looks."""
        return 3 * max(self.stopped, self.silent, self.stalled, self.idle)


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Lane:
    """One engine behind an API server, as it last told of itself; with data parallelism there are several. Any
    difference between two looks is movement. ``progress`` is the sum of whatever this version counts (tokens,
    iterations, preemptions, requests), ``cache`` the share of the KV cache in use, ``waiting`` for capacity."""

    name: str = "0"
    running: float = 0.0
    waiting: float = 0.0
    progress: float = 0.0
    cache: float = 0.0


@dataclass(frozen=True, slots=True)
class Member:
    """A process of the instance. ``state``: the kernel's letter, "" for one that is gone. ``vital``: the engine cannot
    do without it, as it can without a compiler or a tracker of resources."""

    pid: int
    start: int
    name: str = ""  # "API server", "EngineCore", "Worker_TP0"
    state: str = "S"
    vital: bool = True

    @property
    def gone(self) -> bool:
        return self.state in {"", "Z", "X"}

    def __str__(self) -> str:
        return f"its {self.name} (pid {self.pid})"


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. ``at`` in seconds of the monotonic clock, ``answers``: /health said 200, else ``why`` not. ``lanes`` is
    empty where /metrics was not read or tells nothing; ``finished`` counts the posts that were answered well, those
    whose client gave up among them: so vLLM counts."""

    at: float
    answers: bool = True
    why: str = ""
    lanes: tuple[Lane, ...] = ()
    finished: float = 0.0
    members: tuple[Member, ...] = ()
    asleep: bool = False
    compiler: str = ""  # the name of one that works below a vital process, or ""

    @property
    def running(self) -> float:
        return sum(one.running for one in self.lanes)

    @property
    def waiting(self) -> float:
        return sum(one.waiting for one in self.lanes)

    @property
    def progress(self) -> float:
        return sum(one.progress for one in self.lanes)

    @property
    def debugged(self) -> Member | None:
        return next((one for one in self.members if one.vital and one.state == "t"), None)

    @property
    def excused(self) -> bool:
        return bool(self.compiler or self.debugged)


@dataclass(frozen=True, slots=True)
class Canary:
    """A request of one token: when it was sent, and when there was an ``answer`` to it, of whatever kind, or the wait
    for one ended (``why``)."""

    at: float
    ended: float
    answered: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Assessment:
    """``why`` in a few words, for `status` and for the record of a death. ``canary``: one is due."""

    state: State
    why: str = ""
    canary: bool = False


History = Sequence[Sample | Canary]


def remember(history: History, one: Sample | Canary, limits: Limits = LIMITS) -> tuple[Sample | Canary, ...]:
    """With what was just seen, and without what is too old to matter. A new start begins with an empty history."""
    return (*(old for old in history if old.at >= one.at - limits.keep), one)


def patient(drain: float, limits: Limits = LIMITS) -> Limits:
    """For an engine that may drain so long: it refuses new connections meanwhile, whoever told it to end."""
    return replace(limits, silent=max(limits.silent, drain + 30.0))


def assess(history: History, now: float, limits: Limits = LIMITS) -> Assessment:
    """``now`` on the same clock as the samples."""
    since = max((one.at for one in history), default=0.0) - limits.keep
    samples = [one for one in history if isinstance(one, Sample) and one.at >= since]
    canaries = [one for one in history if isinstance(one, Canary) and one.at >= since]
    if not samples:
        return Assessment("well", "not looked at yet")
    last, moved = samples[-1], _moves(samples, canaries)
    if lost := _lost(samples):
        return Assessment("hung", f"{lost} is gone")
    if now - last.at > limits.gap:
        return Assessment("well", f"not looked at for {format_duration(round(now - last.at))}")
    if last.debugged:
        return Assessment("suspect", f"a debugger holds {last.debugged}")
    found = [
        verdict
        for verdict in (
            _stopped(samples, limits),
            _silent(samples, moved, limits),
            _stalled(samples, limits),
            _deaf(samples, moved, canaries, limits),
        )
        if verdict
    ]
    worst = next((one for one in found if one.state == "hung"), found[0] if found else _calm(samples, moved))
    return replace(worst, canary=worst.state != "hung" and _due(samples, moved, canaries, now, limits))


def _moves(samples: Sequence[Sample], canaries: Sequence[Canary]) -> list[bool]:
    """Of each look, whether it shows other counters than the one before that could read them. Without lanes, whether
    more requests were answered meanwhile than canaries were sent."""
    moved: list[bool] = []
    known, before = samples[0].lanes, samples[0]
    for one in samples:
        if one.lanes:
            moved.append(bool(known) and one.lanes != known)
            known = one.lanes
        else:
            own = sum(before.at < canary.ended <= one.at for canary in canaries)
            moved.append(not before.lanes and one.finished > before.finished + own)
        before = one if one.answers else before
    return moved


def _lost(samples: Sequence[Sample]) -> Member | None:
    """A vital one that lived in two looks: in the moment between fork and exec a helper has the name of its parent."""
    living = {one.pid: one.start for one in samples[-1].members if not one.gone}
    seen: dict[tuple[int, int], int] = {}
    for sample in samples[:-1]:
        for one in sample.members:
            if one.vital and not one.gone:
                seen[one.pid, one.start] = seen.get((one.pid, one.start), 0) + 1
                if seen[one.pid, one.start] == 2 and living.get(one.pid) != one.start:
                    return one
    return None


def _streak(samples: Sequence[Sample], holds: Callable[[int], bool], limits: Limits) -> list[Sample]:
    """The last looks of which each holds, by its index, with no gap in between; oldest first."""
    found: list[Sample] = []
    for index in range(len(samples) - 1, -1, -1):
        one = samples[index]
        if one.excused or not holds(index) or (found and found[-1].at - one.at > limits.gap):
            break
        found.append(one)
    return found[::-1]


def _length(streak: Sequence[Sample]) -> float:
    return streak[-1].at - streak[0].at if streak else 0.0


def _stopped(samples: Sequence[Sample], limits: Limits) -> Assessment | None:
    member = next((one for one in samples[-1].members if one.vital and one.state == "T"), None)
    if member is None:
        return None
    streak = _streak(samples, lambda index: member in samples[index].members, limits)
    hung = len(streak) >= 2 and _length(streak) >= limits.stopped
    return Assessment("hung" if hung else "suspect", f"{member} is stopped (SIGSTOP)")


def _silent(samples: Sequence[Sample], moved: Sequence[bool], limits: Limits) -> Assessment | None:
    streak = _streak(samples, lambda index: not samples[index].answers and not moved[index], limits)
    if not streak:
        return None
    lasts = format_duration(round(_length(streak)))
    hung = len(streak) >= limits.looks and _length(streak) >= limits.silent
    return Assessment("hung" if hung else "suspect", f"/health: {streak[-1].why} ({len(streak)} times in {lasts})")


def _stalled(samples: Sequence[Sample], limits: Limits) -> Assessment | None:
    """Looks that could not read the counters say nothing here: what stands before and after them is the same."""
    read = [one for one in samples if one.lanes or one.excused]
    if not read or read[-1].asleep:
        return None
    worst = None
    for lane in read[-1].lanes:
        streak = _streak(read, lambda index, lane=lane: lane in read[index].lanes, limits)  # type: ignore[misc]
        if lane.running > 0 and (worst is None or _length(streak) > _length(worst[1])):
            worst = lane, streak
    if worst is None or _length(worst[1]) < limits.stalled / 2:
        return None
    lane, streak = worst
    hung = len(streak) >= limits.looks and _length(streak) >= limits.stalled
    which = f" of engine {lane.name}" if len(read[-1].lanes) > 1 else ""
    lasts = format_duration(round(_length(streak)))
    return Assessment(
        "hung" if hung else "suspect", f"{_work(lane.running, lane.waiting)}, no counter{which} moved for {lasts}"
    )


def _deaf(
    samples: Sequence[Sample], moved: Sequence[bool], canaries: Sequence[Canary], limits: Limits
) -> Assessment | None:
    """Failures in a row during which nothing else moved; what moved after one was sent may have been before it."""
    spoke = max((one.at for one, did in zip(samples, moved, strict=True) if did or one.excused), default=0.0)
    failed: list[Canary] = []
    for one in reversed(canaries):
        if one.answered or one.at <= spoke:
            break
        failed.append(one)
    if not failed or samples[-1].asleep:
        return None
    times = f"{len(failed)} times in a row, " if len(failed) > 1 else ""
    hung = len(failed) >= limits.canaries
    return Assessment("hung" if hung else "suspect", f"{times}a request of one token had no answer: {failed[0].why}")


def _due(
    samples: Sequence[Sample], moved: Sequence[bool], canaries: Sequence[Canary], now: float, limits: Limits
) -> bool:
    last = samples[-1]
    if not last.answers or last.asleep or last.excused or last.running > 0:
        return False
    busy = (one.at for one, did in zip(samples, moved, strict=True) if did or one.running > 0 or one.excused)
    since = max([samples[0].at, *busy, *(one.ended for one in canaries if one.answered)])
    asked = max((one.ended for one in canaries if not one.answered), default=-limits.again)
    return now - since >= limits.idle and now - asked >= limits.again


def _calm(samples: Sequence[Sample], moved: Sequence[bool]) -> Assessment:
    last = samples[-1]
    if last.asleep:
        return Assessment("idle", "asleep")
    if last.compiler:
        return Assessment("busy", f"compiles kernels ({last.compiler})")
    if not last.answers:
        return Assessment("busy", f"its counters move; /health: {last.why}")
    if last.running or last.waiting:
        return Assessment("busy", _work(last.running, last.waiting))
    if not last.lanes:
        return Assessment("well", "it shows no counters")
    return Assessment("well" if moved[-1] else "idle")


def _work(running: float, waiting: float) -> str:
    return f"{running:g} running" + (f", {waiting:g} waiting" if waiting else "")
