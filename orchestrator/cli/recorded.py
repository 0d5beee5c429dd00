"""What is on record of the deployments of a project: their files, their pins, and what they were started from."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.errors import HostError, InputError
from orchestrator.model import Deployment, Intent, Record
from orchestrator.ports import Eyes
from orchestrator.revisions import held, in_force


def pinned(written: Iterable[Deployment], eyes: Eyes) -> tuple[Deployment, ...]:
    """What the files say, or the revision that is pinned in its place."""
    records = eyes.state.records()
    found = []
    for one in written:
        record = records.get(one.name)
        kept = in_force(record) if record else None
        found.append(held(one, with_secrets_of_now(kept, eyes)) if kept else one)
    return tuple(found)


def with_secrets_of_now(known: Deployment, eyes: Eyes) -> Deployment:
    """A record names secrets and does not hold them, so the same record may mean another value. One that this process
    cannot read counts as unchanged."""
    hashes = dict(known.spec.secrets)
    for name, ref in known.secret_refs.items():
        try:
            hashes[name] = eyes.state.fingerprint(eyes.host.secret(name, ref))
        except HostError:
            continue
    return replace(known, spec=replace(known.spec, secrets=hashes))


def deployed(eyes: Eyes, given: Sequence[str]) -> list[tuple[list[str], tuple[str, ...]]]:
    """The profile and the KEY=VALUEs of everything that is meant to run, be its record lost; without what has no
    profile any more."""
    records = eyes.state.records()
    lost = {one.name for one in eyes.target.list(eyes.state.project, {}) if one.leader and not one.owned} - set(records)
    kept = [one for one in _meant_to_run(eyes) if not _is_gone(one)]
    return [([_file(one) or one.name], (*set_on(one), *given)) for one in kept] + [
        ([one], tuple(given)) for one in sorted(lost)
    ]


def set_on(record: Record | None) -> tuple[str, ...]:
    """What it was deployed with by ``--set``."""
    known = _last(record) if record else None
    return known.given if known else ()


def profiles_gone(eyes: Eyes) -> tuple[InputError, ...]:
    """Why these cannot be what their files say; one that is pinned needs none."""
    gone = [one for one in _meant_to_run(eyes) if _is_gone(one) and in_force(one) is None]
    return tuple(
        InputError(
            f"plan {one.name}",
            f"{one.name} is deployed and its profile is gone",
            f"restore it, or `orch delete {one.name}`",
            _file(one),
        )
        for one in gone
    )


def pinned_alone(eyes: Eyes) -> tuple[Deployment, ...]:
    """Those whose profile is gone, as the revisions that they are pinned to."""
    gone = (in_force(one) for one in _meant_to_run(eyes) if _is_gone(one))
    return tuple(with_secrets_of_now(one, eyes) for one in gone if one)


def _meant_to_run(eyes: Eyes) -> list[Record]:
    return [one for one in eyes.state.records().values() if one.intent is Intent.RUNNING]


def _last(record: Record) -> Deployment | None:
    if record.revision:
        return record.revision.deployment
    return record.attempt.deployment if record.attempt else None


def _file(record: Record) -> str:
    """Of its profile; empty when nothing is known of it."""
    known = _last(record)
    return known.file if known else ""


def _is_gone(record: Record) -> bool:
    file = _file(record)
    return bool(file) and not Path(file).exists()
