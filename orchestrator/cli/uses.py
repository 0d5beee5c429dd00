"""Who uses which weights: the profiles of the project, and whatever orch started."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cached import Kind, User
from orchestrator.errors import OrchError
from orchestrator.find import display, folder_files
from orchestrator.history import attempts
from orchestrator.model import Intent, ModelRef, Profile, Spec
from orchestrator.resolve import resolve

if TYPE_CHECKING:
    from orchestrator.cli.context import Context
    from orchestrator.model import Environment, Record, Revision


@dataclass
class Usage:
    """``specs`` say which caches matter; ``unread`` are profiles that do not load, so that nobody knows what they
    use."""

    users: list[User] = field(default_factory=list)
    specs: list[Spec] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def usage(here: "Context", environment: str | None) -> Usage:
    """With the caches of the caller, of the project's environments and of what is deployed; or of ``environment``
    alone."""
    from orchestrator.cli.bare import callers, environments, named

    found = Usage()
    for spec, name in _written(here, found.unread):
        found.users.append(_user(here, name, "profile", spec))
    for user, spec in _started(here):
        found.users.append(user)
        found.specs += [] if user.project else [spec]
    if environment:
        found.specs = [_bare(named(here, environment, os.environ))]
    else:
        found.specs += [_bare(one) for one in (callers(os.environ), *environments(here, os.environ))]
    return found


def _bare(environment: "Environment") -> Spec:
    return resolve(Profile("", environment.name, ModelRef()), environment, {}).spec


def _written(here: "Context", unread: list[str]) -> Iterator[tuple[Spec, str]]:
    files = [str(file) for file in folder_files(here.root / "profiles")]
    try:
        sets = [here.load(files)] if files else []
    except OrchError:  # of one of them: the others are as good as ever
        sets = []
        for file in files:
            try:
                sets.append(here.load([file]))
            except OrchError:
                unread.append(display(file))
    for profiles, environments in sets:
        for profile in profiles:
            try:
                yield resolve(profile, environments[profile.environment], {}).spec, profile.name
            except OrchError:
                unread.append(display(profile.source.file))


def _started(here: "Context") -> Iterator[tuple[User, Spec]]:
    eyes = here.eyes
    records, project = eyes.state.records(), eyes.state.project
    known = attempts(project, records.values())
    own = eyes.target.list(project, known)
    others = [one for one in eyes.target.everywhere() if one.marker.project != project]
    for one in (*own, *others):
        attempt = known.get(one.marker)
        spec = one.spec or (attempt.deployment.spec if attempt else None)
        other = "" if one.marker.project == project else one.marker.project
        if spec:
            yield _user(here, one.name, "running", spec, one.started_at, other), spec
    living = {one.name for one in own}
    for record in records.values():
        for kind, spec, at in _remembered(record, living=record.name in living):
            yield _user(here, record.name, kind, spec, at), spec
        for revision in _earlier(here, record):
            spec = revision.deployment.spec
            user = _user(here, record.name, "revision", spec, revision.at)
            yield replace(user, number=revision.number), spec


def _remembered(record: "Record", *, living: bool) -> Iterator[tuple[Kind, Spec, float]]:
    """What it would be started from again. The last attempt of one that runs is what runs, or did not come up."""
    kind: Kind = "running" if living else "stopped" if record.intent is Intent.STOPPED else "deployed"
    if record.revision:
        yield kind, record.revision.deployment.spec, record.revision.at
    if record.attempt and not living:
        yield kind, record.attempt.deployment.spec, record.attempt.at


def _earlier(here: "Context", record: "Record") -> list["Revision"]:
    """What it could be rolled back to."""
    now = record.revision.number if record.revision else 0
    return [one for one in here.eyes.state.revisions(record.name) if one.number != now]


def _user(here: "Context", name: str, kind: Kind, spec: Spec, started: float | None = None, project: str = "") -> User:
    weights = here.eyes.weights
    path = str(Path(spec.model.path).resolve()) if spec.model.path else ""
    return User(name, kind, weights.cache(spec), weights.uses(spec), spec.commits, path, project, started)
