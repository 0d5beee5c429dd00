"""What is remembered of starts, and what to go back to. Pure functions from record to record."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from orchestrator.codec import digest
from orchestrator.model import Attempt, Deployment, Intent, Observed, Phase, Record, Rejected, Revision, Spec

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
    latest = Rejected(name, why, at, log, wanted.spec.secrets)
    return replace(record, attempt=attempt, rejected=(*others, latest)[-REJECTED_KEPT:])


def rejection(record: Record | None, spec: Spec) -> Rejected | None:
    """Why this very spec, its secrets included, is not to be tried again while something older serves."""
    known = record.rejected if record else ()
    return next((one for one in known if one.digest == digest(spec) and one.secrets == spec.secrets), None)


def paused(record: Record, because: str) -> Record:
    return replace(record, intent=Intent.STOPPED, because=because)


def fallback(stopped: Iterable[str], before: Observed) -> tuple[Deployment, ...]:
    """The deployments to bring back after a failed rollout: those that it stopped, exactly as they ran when they
    were ready, or else at the revision that had been good."""
    revisions: Mapping[str, Revision] = {
        name: record.revision for name, record in before.records.items() if record.revision
    }
    found = []
    for name in sorted(set(stopped)):
        was = next((one for one in reversed(before.instances) if one.name == name and one.leader), None)
        known = revisions.get(name)
        if was is None:
            continue
        if known:
            as_it_ran = was.spec if was.phase is Phase.READY and was.spec else known.deployment.spec
            found.append(replace(known.deployment, spec=as_it_ran))
        elif was.spec:
            found.append(Deployment(name, "", was.spec))
    return tuple(found)
