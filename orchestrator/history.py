"""What is remembered of starts, and what to go back to. Pure functions from record to record."""

from collections.abc import Iterable
from dataclasses import replace

from orchestrator.codec import digest
from orchestrator.model import (
    Attempt,
    Deployment,
    Intent,
    Marker,
    Observed,
    Phase,
    Pin,
    Record,
    Rejected,
    Revision,
    Spec,
)

REJECTED_KEPT = 8


def attempts(project: str, records: Iterable[Record]) -> dict[Marker, Attempt]:
    """The last start of each deployment, by the marker that its processes carry."""
    return {Marker(project, one.name, one.attempt.id): one.attempt for one in records if one.attempt}


def started(record: Record | None, name: str, attempt: Attempt) -> Record:
    """What a person starts, and what is not what it was, begins with a clean slate: no death counts against it."""
    record = replace(record or Record(name), intent=Intent.RUNNING, because="", retry_at=None, given_up="")
    record = replace(record, refused="", refused_since=None)
    before = record.attempt.deployment.spec if record.attempt else None
    same = before is not None and digest(before) == digest(attempt.deployment.spec)
    kept = record.deaths if attempt.by == "watch" and same else ()
    return replace(record, attempt=attempt, deaths=kept)


def succeeded(record: Record, revision: Revision, at: float) -> Record:
    """A digest that became ready is no longer a rejected one. A pin is that of what became ready."""
    attempt = _became_ready(record.attempt, revision, at) if record.attempt else None
    rejected = tuple(one for one in record.rejected if one.digest != revision.digest)
    pin = _pin(record, revision, at)
    well = replace(record, intent=Intent.RUNNING, because="", rejected=rejected)
    return replace(well, revision=revision, attempt=attempt, pin=pin)


def _became_ready(attempt: Attempt, revision: Revision, at: float) -> Attempt:
    """What was said of it while it was thought to have failed is no longer so."""
    attempt = replace(attempt, ready_at=at, deployment=revision.deployment, ended="", exit=None)
    attempt = replace(attempt, timed_out=False, hung=False, stage="serving")
    return replace(attempt, stages=revision.stages, measured=revision.measured)


def _pin(record: Record, revision: Revision, at: float) -> Pin | None:
    number = revision.deployment.pinned
    if number is None or (record.pin and record.pin.number == number):
        return record.pin if number is not None else None
    return Pin(number, at, revision.user)


def failed(record: Record, wanted: Deployment, why: str, at: float, log: str) -> Record:
    """Remembers the digest, so that it does not interrupt what serves again until its inputs change."""
    name = digest(wanted.spec)
    others = tuple(one for one in record.rejected if one.digest != name)
    attempt = replace(record.attempt, ended=why) if record.attempt else None
    latest = Rejected(name, why, at, log, wanted.spec.secrets)
    return replace(record, attempt=attempt, rejected=(*others, latest)[-REJECTED_KEPT:])


def rejection(record: Record | None, spec: Spec) -> Rejected | None:
    """Why this very spec, its secrets included, is not to be tried again while something older serves."""
    known = record.rejected if record else ()
    return next((one for one in known if one.digest == digest(spec) and one.secrets == spec.secrets), None)


def paused(record: Record, because: str) -> Record:
    record = replace(record, retry_at=None, given_up="", refused="", refused_since=None)
    return replace(record, intent=Intent.STOPPED, because=because)


def fallback(stopped: Iterable[str], before: Observed) -> tuple[Deployment, ...]:
    """The deployments to bring back after a failed rollout: those that it stopped, exactly as they ran when they
    were ready, or else at the revision that had been good."""
    found = (_before(name, before) for name in sorted(set(stopped)))
    return tuple(one for one in found if one)


def earlier(name: str, failed: Spec, before: Observed) -> tuple[Deployment, ...]:
    """What to bring back when a start that an earlier turn had left alone turns out to fail: the revision that the
    earlier turn had stopped for it, and not one that a person had."""
    record = before.records.get(name)
    if record is None or record.revision is None or record.revision.digest == digest(failed):
        return ()
    if record.intent is Intent.STOPPED:
        return ()
    return (record.revision.deployment,)


def _before(name: str, before: Observed) -> Deployment | None:
    was = next((one for one in reversed(before.instances) if one.name == name and one.leader), None)
    if was is None:
        return None
    record = before.records.get(name)
    good = record.revision.deployment if record and record.revision else None
    if was.phase is not Phase.READY and good:
        return good
    if was.spec is None:
        return good
    # A spec names its secrets; only what was recorded with it knows where their values are.
    attempt = record.attempt if record else None
    begun = attempt.deployment if attempt and attempt.id == was.marker.attempt else None
    return replace(begun or good or Deployment(name, "", was.spec), spec=was.spec)
