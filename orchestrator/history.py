"""What is remembered of starts, and what to go back to. Pure functions from record to record."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from orchestrator.codec import digest
from orchestrator.model import Attempt, Deployment, Intent, Observed, Record, Rejected, Revision

REJECTED_KEPT = 8


def started(record: Record | None, name: str, attempt: Attempt) -> Record:
    return replace(record or Record(name), intent=Intent.RUNNING, because="", attempt=attempt)


def succeeded(record: Record, revision: Revision, at: float) -> Record:
    """A digest that became ready is no longer a rejected one."""
    attempt = replace(record.attempt, ready_at=at) if record.attempt else None
    rejected = tuple(one for one in record.rejected if one.digest != revision.digest)
    return replace(record, intent=Intent.RUNNING, because="", revision=revision, attempt=attempt, rejected=rejected)


def failed(record: Record, wanted: Deployment, why: str, at: float, log: str) -> Record:
    """Remembers the digest, so that it does not interrupt what serves again until its inputs change."""
    name = digest(wanted.spec)
    others = tuple(one for one in record.rejected if one.digest != name)
    attempt = replace(record.attempt, ended=why) if record.attempt else None
    return replace(record, attempt=attempt, rejected=(*others, Rejected(name, why, at, log))[-REJECTED_KEPT:])


def paused(record: Record, because: str) -> Record:
    return replace(record, intent=Intent.STOPPED, because=because)


def fallback(stopped: Iterable[str], before: Observed) -> tuple[Deployment, ...]:
    """The deployments to bring back after a failed rollout: those that it stopped, at the revision that had been
    good, or else exactly as they were started."""
    revisions: Mapping[str, Revision] = {
        name: record.revision for name, record in before.records.items() if record.revision
    }
    found = []
    for name in sorted(set(stopped)):
        was = next((one for one in before.instances if one.name == name and one.leader and one.spec), None)
        if was is None or was.spec is None:
            continue
        known = revisions.get(name)
        found.append(replace(known.deployment, spec=was.spec) if known else Deployment(name, "", was.spec))
    return tuple(found)
