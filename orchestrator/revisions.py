"""Revisions: which one is gone back to, which one a deployment is pinned to, how they are numbered and which are kept.
Pure.

A pin travels with the deployment that it is of (`Deployment.pinned`): what was started under it is recorded with it,
what comes back after a failed rollout comes back with the pin that it had.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from orchestrator.codec import digest
from orchestrator.drift import deployment_diff
from orchestrator.errors import InputError
from orchestrator.model import Deployment, Record, Revision


def in_force(record: Record) -> Deployment | None:
    """What it is pinned to. A start that is under way says it; else what became ready last."""
    if _begun(record):
        assert record.attempt is not None
        found: Deployment | None = record.attempt.deployment
    else:
        good = record.revision
        found = good.deployment if good and record.pin and good.number == record.pin.number else None
        found = replace(found, pinned=record.pin.number) if found and record.pin else None
    return replace(found, held_back=()) if found and found.pinned is not None else None


def _begun(record: Record) -> bool:
    """Whether its last start neither became ready nor is known to have failed."""
    attempt = record.attempt
    if attempt is None or attempt.ready_at is not None:
        return False
    return not any(one.log and one.log == attempt.log for one in record.rejected)


def held(written: Deployment, pinned: Deployment) -> Deployment:
    """The pinned one in the place of what the files say, which is named in it."""
    differs = tuple(one.field for one in deployment_diff(pinned, written))
    return replace(pinned, file=written.file, held_back=differs)


def every(record: Record | None, kept: Iterable[Revision]) -> Mapping[int, Revision]:
    """By number: the record has the current one as well, be its own file damaged."""
    found = {one.number: one for one in kept}
    if record and record.revision:
        found[record.revision.number] = record.revision
    return dict(sorted(found.items()))


def goal(name: str, record: Record | None, kept: Sequence[Revision], number: int | None = None) -> Deployment:
    """The deployment to go back to, pinned: revision ``number``, or the newest earlier one that is not what was started
    last. Raises InputError."""
    known = every(record, kept)
    number = number if number is not None else _previous(name, record, known)
    what = f"roll {name} back to revision {number}"
    if number not in known:
        numbers = f"kept are {', '.join(map(str, known))}" if known else "none of its revisions is kept"
        raise InputError(what, "it is not kept", numbers)
    found = known[number].deployment
    if record and _is_current(record, number) and in_force(record) is None:
        raise InputError(what, "it is the current one", f"`orch history {name}` lists the others")
    if unknown := sorted(set(found.spec.secrets) - set(found.secret_refs)):
        why = f"where its secrets {', '.join(unknown)} are kept is not known"
        raise InputError(what, why, f"use `orch apply {name}`, which reads that from the files")
    current = record.revision.deployment if record and record.revision else found
    return replace(found, pinned=number, held_back=(), file=current.file or found.file)


def _previous(name: str, record: Record | None, known: Mapping[int, Revision]) -> int:
    what = f"roll {name} back"
    if record is None:
        do = f"name a revision with --to: {', '.join(map(str, known))}" if known else f"use `orch apply {name}`"
        raise InputError(what, "its record was lost", do)
    if _begun(record) and (going := in_force(record)) and going.pinned is not None:
        return going.pinned  # an interrupted rollback goes on
    last = _last(record)
    top = record.revision.number if record.revision else 0
    earlier = [one.number for one in known.values() if one.number <= top and one.digest != last]
    if not earlier:
        why = "no earlier revision of it is kept" if record.revision else "it never became ready"
        raise InputError(what, why, f"`orch history {name}` lists what is kept")
    return max(earlier)


def _is_current(record: Record, number: int) -> bool:
    good = record.revision
    return good is not None and good.number == number and _last(record) == good.digest


def _last(record: Record) -> str:
    """The digest of what was started last."""
    if record.attempt:
        return digest(record.attempt.deployment.spec)
    return record.revision.digest if record.revision else ""


def numbered(wanted: Deployment, last: Revision | None, fresh: int) -> int:
    """Of a deployment that became ready. ``fresh`` was never a number. A spec that is the current revision's already
    keeps its number: a restart is no new revision."""
    if wanted.pinned is not None:
        return wanted.pinned
    return last.number if last and last.digest == digest(wanted.spec) else fresh


def surplus(numbers: Iterable[int], needed: Iterable[int], most: int) -> tuple[int, ...]:
    """Those to drop, so that at most ``most`` are left: the oldest, and never one that is needed."""
    found, kept = sorted(set(numbers)), set(needed)
    count = max(0, len(found) - most)
    return tuple(one for one in found if one not in kept)[:count]


EARLIER = 5
"""Starts that say how long another one may take."""


def stages(kept: Sequence[Revision], name: str) -> tuple[Mapping[str, float], ...]:
    """Seconds of each stage of earlier starts: that of the same digest ``name``, else the last ones of others."""
    told = [one for one in kept if one.stages]
    same = [one.stages for one in told if one.digest == name]
    return tuple(same or [one.stages for one in told][-EARLIER:])
