"""Deployments as they are recorded, with the values that their secrets have now."""

from collections.abc import Iterable
from dataclasses import replace

from orchestrator.errors import HostError
from orchestrator.model import Deployment
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
