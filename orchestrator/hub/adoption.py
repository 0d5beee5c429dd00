"""Which commit the files of a flat folder are of."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from orchestrator.hub import flat
from orchestrator.hub.layout import Repo
from orchestrator.model import Deployment
from orchestrator.pins import pinned


def settled(wanted: Deployment, folder: Path, repo: Repo, resolve: Callable[[Deployment], Deployment]) -> Deployment:
    """At the revision that is asked for; else at the commit that the folder's own notes tell. That one is adopted as
    main where main leads to it, for main is what profiles name."""
    commit = flat.commit_of(folder)
    if wanted.spec.model.revision or not commit:
        return resolve(wanted)
    if (repo.pinned("main") or repo.ref("main")) == commit:  # the Hub's client notes it when it makes the folder
        return pinned(wanted, {"model": commit})
    main = resolve(wanted)
    if main.spec.commits.get("model") == commit:
        return main
    model = replace(wanted.spec.model, revision=commit)
    return pinned(replace(wanted, spec=replace(wanted.spec, model=model)), {"model": commit})
