"""How two specs, or deployments, differ, field by field. Pure; what a difference means is decided in `reconcile`."""

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.codec import canonical, to_json
from orchestrator.model import Deployment, Json, Spec
from orchestrator.plan import FieldDiff

_MAPPINGS = frozenset(
    {"model", "serve", "runtime", "env", "secrets", "commits", "serve.args", "policy", "policy.restart", "secret_refs"}
)
"""Compared key by key; any other value is compared, and shown, whole."""


def diff(before: Spec, after: Spec) -> tuple[FieldDiff, ...]:
    """Sorted by field. Absent and default are the same thing, for that is what the engine sees. Another model has
    another commit, which goes without saying."""
    old, new = dict(_flatten("", to_json(before))), dict(_flatten("", to_json(after)))
    changed = (FieldDiff(key, old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys()))
    found = tuple(one for one in changed if _differs(one) and not _unknowable(one))
    another = any(one.field in ("model.repo", "model.revision") for one in found)
    return tuple(one for one in found if not (another and one.field == "commits.model"))


def deployment_diff(before: Deployment, after: Deployment) -> tuple[FieldDiff, ...]:
    """Of the specs, then of what orch does around the engine and of where secrets are."""
    old, new = dict(_flatten("", _around(before))), dict(_flatten("", _around(after)))
    changed = (FieldDiff(key, old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys()))
    return (*diff(before.spec, after.spec), *(one for one in changed if _differs(one)))


def _around(one: Deployment) -> Mapping[str, Json]:
    return {
        "environment": one.environment,
        "policy": to_json(one.policy),
        "secret_refs": to_json(one.secret_refs),
    }


def _flatten(prefix: str, value: Mapping[str, Json]) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        path = f"{prefix}{key}"
        if path in _MAPPINGS:
            yield from _flatten(f"{path}.", item)
        else:
            yield path, item


def _differs(one: FieldDiff) -> bool:
    """As text, for true is 1 to Python but not to the engine's command line."""
    return canonical(one.before) != canonical(one.after)


def _unknowable(one: FieldDiff) -> bool:
    """A commit that one side does not know (it was started by an older orch, or the Hub cannot be asked) is no
    difference; nor are two hashes under different keys (the state, and the key in it, were lost)."""
    if one.field.startswith("commits."):
        return one.before is None or one.after is None
    if not one.field.startswith("secrets.") or one.before is None or one.after is None:
        return False
    return str(one.before).partition(":")[0] != str(one.after).partition(":")[0]
