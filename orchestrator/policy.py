"""What is done about an engine that ended by itself: `restart` of its profile, as pure functions. Time and chance come
in as values; the watcher is the only one that acts on it, so supervision has one mind.

    what is seen of a deployment                  what is due
    stopped on purpose, given up                  rest
    no start on record                            rest (the files' business)
    lives, was ready                              rest
    lives, was ready, hung on record              start, once its time has come
    lives, not ready yet                          await
    lives, and is not the start on record         rest (the files' business)
    started before the machine was                start, unless its policy is never
    gone, not on record as a death                mourn: record it, and judge what follows
    gone, on record                               start, once its time has come; rest when it has none
    could not even be started                     start, once its time has come
"""

from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.codec import digest
from orchestrator.model import Attempt, Death, Deployment, Instance, Intent, Record, Restart
from orchestrator.units import format_duration

FIRST, FACTOR, LONGEST = 1.0, 2.0, 300.0
"""Seconds before the second start in a row, by how much each further wait is longer, and the longest. The first start
comes at once: most deaths are single ones."""
KEPT = 50
"""Deaths on record, of those that still count."""


@dataclass(frozen=True, slots=True)
class Due:
    """``at`` in seconds since the epoch, for what is due later. ``hung``: what lives has to be stopped for it."""

    what: Literal["rest", "await", "mourn", "start"]
    at: float | None = None
    hung: bool = False


REST = Due("rest")


def due(record: Record | None, live: Instance | None, boot: str, now: float) -> Due:
    """``live`` is the deployment's instance with a leader, None without one; ``boot`` the id of this boot."""
    attempt = record.attempt if record else None
    if record is None or attempt is None or record.intent is Intent.STOPPED or record.given_up:
        return REST
    if live and live.owned:
        return REST
    known = _death_of(record, attempt)
    if live and live.marker.attempt != attempt.id:
        return REST
    if live:
        if known:
            return _at(record.retry_at, now, hung=True)
        return REST if attempt.ready_at is not None else Due("await")
    if known or record.refused:
        return _at(record.retry_at, now)
    if attempt.boot != boot:
        return REST if attempt.deployment.policy.restart.policy == "never" else Due("start")
    return Due("mourn")


def _death_of(record: Record, attempt: Attempt) -> Death | None:
    return next((one for one in reversed(record.deaths) if one.attempt == attempt.id), None)


def _at(when: float | None, now: float, *, hung: bool = False) -> Due:
    """A time further off than any wait is what a clock that was set back left behind."""
    if when is None:
        return REST
    return Due("start", None if when <= now or when > now + LONGEST else when, hung)


@dataclass(frozen=True, slots=True)
class Verdict:
    """``retry_at`` None: it is not started again, and ``given_up`` says why when that is not what its policy wants."""

    retry_at: float | None = None
    given_up: str = ""


def judge(
    record: Record, death: Death, now: float, chance: float, *, in_order: bool = False, final: str = ""
) -> Verdict:
    """What follows from ``death``, which is not on ``record`` yet. ``chance`` in [0, 1) spreads the starts of several
    that died together; ``in_order``: it had been told to end; ``final``: why another start could only end the same."""
    policy = record.attempt.deployment.policy.restart if record.attempt else Restart()
    if policy.policy == "never" or (in_order and policy.policy == "on-failure"):
        return Verdict()
    if final:
        return Verdict(given_up=final)
    count = len(counted((*record.deaths, death), policy.window, now))
    if count > policy.attempts:
        times = "once" if count == 1 else f"{count} times"
        return Verdict(given_up=f"it ended {times} within {format_duration(policy.window)}, last because {death.why}")
    return Verdict(now + wait(count, chance))


def wait(count: int, chance: float) -> float:
    """Seconds before the start that follows ``count`` deaths in a row; ``chance`` takes away up to half."""
    if count <= 1:
        return 0.0
    longest = min(LONGEST, FIRST * FACTOR ** min(count - 2, 60))
    return longest * (1 - chance / 2)


def counted(deaths: tuple[Death, ...], window: float, now: float) -> tuple[Death, ...]:
    """Those within the window, and the last ones in a row that never became ready: else starts that take longer to fail
    than the window is wide would go on for ever. One that seems to lie ahead is counted: the clock was set back."""
    since = next((at for at in range(len(deaths), 0, -1) if deaths[at - 1].uptime > 0), 0)
    return tuple(one for at, one in enumerate(deaths) if at >= since or one.at > now - window)


def died(record: Record, death: Death, verdict: Verdict, now: float) -> Record:
    """With the death on it; those that no longer count are forgotten."""
    window = record.attempt.deployment.policy.restart.window if record.attempt else Restart().window
    deaths = counted((*record.deaths, death), window, now)[-KEPT:]
    attempt = replace(record.attempt, ended=record.attempt.ended or death.why) if record.attempt else None
    return replace(record, attempt=attempt, deaths=deaths, retry_at=verdict.retry_at, given_up=verdict.given_up)


def refused(record: Record, why: str, now: float, *, final: bool) -> Record:
    """It could not even be started, which is no death of it: tried again for ever, each time after as long as that has
    been so, unless it could only end the same way."""
    since = record.refused_since if record.refused_since is not None else now
    later = now + min(LONGEST, max(FIRST * FACTOR, now - since))
    told = replace(record, refused=why, refused_since=since)
    return replace(told, retry_at=None, given_up=why) if final else replace(told, retry_at=later)


def again(record: Record) -> Deployment | None:
    """What is started after a death: what it was started from, with the policy of the files as last applied."""
    if record.attempt is None:
        return None
    good = record.revision
    same = good is not None and good.digest == digest(record.attempt.deployment.spec)
    return good.deployment if good and same else record.attempt.deployment


def of_the_files(wanted: Deployment, record: Record | None, live: Instance | None) -> bool:
    """Whether a look at the files may start or change it. What is stopped on purpose is not; nor is what ended by
    itself, or is still starting, and is wanted as it was: that is `due`'s business."""
    if record is None or record.attempt is None:
        return True
    if record.intent is Intent.STOPPED:
        return False
    same = digest(record.attempt.deployment.spec) == digest(wanted.spec)
    same = same and record.attempt.deployment.spec.secrets == wanted.spec.secrets
    if live is None or record.attempt.ready_at is None:
        return not same
    return _death_of(record, record.attempt) is None or not same
