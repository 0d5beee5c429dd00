"""A plan kept in a file, to be carried out later exactly as it was shown: what it holds, its JSON, and what makes it
stale. Pure; the file itself is read and written at the edge.

It goes stale by what it was made from, never by its age, nor by figures that change on their own (free memory, bytes
that were fetched meanwhile). No secret's value is in it: a spec holds keyed hashes.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.codec import canonical, digest, from_file, to_json
from orchestrator.drift import deployment_diff
from orchestrator.errors import InputError
from orchestrator.model import Deployment, Gpu, Instance, Inventory, Json, Observed, PortHolder, Record, RuntimeState
from orchestrator.plan import Clear, Fetch, FieldDiff, Plan, Start, Step, Stop
from orchestrator.reconcile import Options
from orchestrator.render import field_text, plan_json
from orchestrator.units import format_size

KIND = "orch plan"
FORMAT = 1
"""Of the file; raised when a key changes its meaning."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who may carry it out: this orch, in this project (``root`` is its folder, for a person), on this host. With
    ``declared``, the environment for whose declared host it was made, nobody can."""

    orch: str
    project: str
    host: str
    root: str = ""
    declared: str = ""


@dataclass(frozen=True, slots=True)
class Saved:
    """``desired`` without the files' texts. ``names`` are the deployments whose state the plan depends on, ``cards``
    whether it depends on the host's GPUs; ``facts`` is that state, each fact by what it is of. ``plan`` is the plan as
    a document (`document_of`); ``made`` when, in seconds since the epoch."""

    origin: Origin
    made: float
    desired: tuple[Deployment, ...] = ()
    prune: bool = False
    replace: tuple[str, ...] = ()
    unpin: bool = False
    names: tuple[str, ...] = ()
    cards: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)
    plan: Json = None

    @property
    def options(self) -> Options:
        return Options(prune=self.prune, replace=self.replace, unpin=self.unpin)


def save(
    plan: Plan, desired: Sequence[Deployment], seen: Observed, options: Options, origin: Origin, now: float
) -> Saved:
    stopped = (step.change.instance.name for step in plan.steps if isinstance(step.change, Stop | Clear))
    names = {*(one.name for one in desired), *(step.name for step in plan.steps), *stopped, *options.replace}
    starts = (step.change for step in plan.steps if isinstance(step.change, Start))
    cards = any(one.placement and one.placement.gpus for one in starts)
    return Saved(
        origin,
        now,
        tuple(replace(one, profile_text="", environment_text="") for one in desired),
        options.prune,
        options.replace,
        options.unpin,
        tuple(sorted(names)),
        cards,
        facts(desired, seen, names, cards=cards),
        document_of(plan),
    )


# ---------------------------------------------------------------------------------------------------------- the file


def write(saved: Saved) -> str:
    content = to_json(saved)
    whole = {"kind": KIND, "format": FORMAT, "sha256": _checksum(content), "content": content}
    return json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def read(text: str, here: Origin, file: str) -> Saved:
    """Raises InputError for what is no plan, is damaged, or is for another orch, project or host than ``here``."""
    what = f"carry out the plan in {file}"
    content = _content(text, what)
    made_by = content.get("origin")
    version = made_by.get("orch") if isinstance(made_by, dict) else None
    if version != here.orch:
        raise InputError(what, f"orch {version} made it, and this is orch {here.orch}", "make it anew")
    saved = from_file(Saved, content)
    if saved is None:
        raise InputError(what, "it is damaged", "make it anew")
    origin = saved.origin
    if origin.declared:
        why = f"it was made with `--host {origin.declared}`, as if nothing ran"
        raise InputError(what, why, "make one without `--host`, on the host itself")
    if origin.host != here.host:
        raise InputError(what, f"it was made on {origin.host}, and this is {here.host}", "make it anew here")
    if origin.project != here.project:
        why = f"it is of the project in {origin.root}, and this one is in {here.root}"
        raise InputError(what, why, f"add --root {origin.root}")
    return saved


def _content(text: str, what: str) -> dict[str, Json]:
    try:
        whole = json.loads(text)
        if not isinstance(whole, dict) or whole.get("kind") != KIND:
            raise InputError(what, "it is no plan of orch's", "make one with `orch plan --out FILE`")
        if whole.get("format") != FORMAT:
            raise InputError(what, "another orch made it, which writes plans in another form", "make it anew")
        content = whole.get("content")
        if isinstance(content, dict) and whole.get("sha256") == _checksum(content):
            return content
    except (ValueError, RecursionError):
        pass
    raise InputError(what, "it is damaged, or was changed by hand", "make it anew with `orch plan --out FILE`")


def _checksum(content: Json) -> str:
    return hashlib.sha256(canonical(content).encode(errors="surrogatepass")).hexdigest()


# ------------------------------------------------------------------------------------------------------- what it is


def document_of(plan: Plan) -> Json:
    """What is carried out and why, without figures that change on their own."""
    return plan_json(replace(plan, steps=tuple(_settled(step) for step in plan.steps), gpus=()), "")


def _settled(step: Step) -> Step:
    """How much of a repository is here already changes while it is fetched; what is to be fetched does not."""
    if not isinstance(step.change, Fetch):
        return step
    bare = replace(step.change.weights, here=0, unverified=0, missing=0, why="", do="")
    return replace(step, change=replace(step.change, weights=bare))


# --------------------------------------------------------------------------------------------------- what it is from


def facts(desired: Iterable[Deployment], seen: Observed, names: Iterable[str], *, cards: bool) -> dict[str, str]:
    """What was seen of ``names``, and of the ports, the runtimes and (with ``cards``) the GPUs that they want. One
    that is "" is not known, and differs from no other."""
    wanted, chosen = tuple(desired), frozenset(names)
    found = {f"{one.name} (start {one.marker.attempt})": _instance(one) for one in seen.instances if one.name in chosen}
    found |= {f"the record of {name}": _record(one) for name, one in seen.records.items() if name in chosen}
    found |= {f"port {one.spec.serve.port}": _port(seen.holders.get(one.spec.serve.port)) for one in wanted}
    found |= {f"the runtime of {one.environment}": _runtime(one, seen.runtimes.get(one.name)) for one in wanted}
    return found | (_inventory(seen.inventory) if cards else {})


def _instance(one: Instance) -> str:
    if one.leader is None:
        return "left-over processes " + ", ".join(str(child.pid) for child in one.children)
    owner = ", in the foreground" if one.owned else ""
    return (
        f"{one.phase.value} with pid {one.leader.pid}{owner}, {digest(one.spec) if one.spec else 'of unknown fields'}"
    )


def _record(one: Record) -> str:
    number = f"revision {one.revision.number} ({one.revision.digest})" if one.revision else "no revision"
    attempt = f"last start {one.attempt.id}" if one.attempt else "never started"
    rejected = f", not to be tried again: {', '.join(each.digest for each in one.rejected)}" if one.rejected else ""
    return f"meant to be {one.intent.value}, {number}, {attempt}{rejected}"


def _port(holder: PortHolder | None) -> str:
    if holder is None:
        return "free"
    return f"held by pid {holder.pid} ({holder.command})" if holder.pid else "held by a process that cannot be seen"


def _runtime(wanted: Deployment, state: RuntimeState | None) -> str:
    """One that orch builds is what its fields say, built yet or not; one that was never used was not looked into."""
    info = state.info if state and wanted.spec.runtime.kind != "requirements" else None
    return f"{info.engine} {info.version} in {info.prefix}" if info else ""


def _inventory(inventory: Inventory | None) -> dict[str, str]:
    """Which cards there are, not what is on them: that shows in the plan, as far as it matters."""
    if inventory is None or inventory.why:
        return {"the NVIDIA driver": inventory.why if inventory else "not there"}
    cards = {f"GPU {gpu.index}": _gpu(gpu) for gpu in inventory.gpus}
    return {"the NVIDIA driver": inventory.driver or "unnamed"} | cards


def _gpu(gpu: Gpu) -> str:
    mig = f", MIG with {len(gpu.parts)} parts" if gpu.mig else ""
    mode = f", {gpu.mode}" if gpu.mode != "default" else ""
    return f"{gpu.name} ({gpu.uuid}), {format_size(gpu.total)}{mode}{mig}" + (f", {gpu.trouble}" if gpu.trouble else "")


# ---------------------------------------------------------------------------------------------- what makes it stale


def rewritten(saved: Saved, written: Iterable[Deployment]) -> list[str]:
    """What the files say otherwise now, a line a field. ``written`` are the same deployments as the files have them,
    with the commits that orch.lock names and no others."""
    now = {one.name: one for one in written}
    lines = []
    for was in saved.desired:
        if (one := now.pop(was.name, None)) is None:
            lines.append(f"{was.name}: {was.file} does not describe it any more")
        else:
            lines += [f"{was.name}: {field_text(each)}" for each in _differences(was, one)]
    return lines + [f"{name}: it was not described by {one.file}" for name, one in now.items()]


def _differences(was: Deployment, now: Deployment) -> tuple[FieldDiff, ...]:
    return deployment_diff(was, now)


def at_commits(saved: Saved, written: Iterable[Deployment]) -> tuple[Deployment, ...]:
    """With the commits that the plan was made with: a revision that moved on meanwhile was never shown."""
    commits = {one.name: one.spec.commits for one in saved.desired}
    return tuple(replace(one, spec=replace(one.spec, commits=commits[one.name])) for one in written)


def moved(saved: Saved, desired: Iterable[Deployment], seen: Observed) -> list[str]:
    """What was seen then and is otherwise now, a line a fact."""
    now = facts(desired, seen, saved.names, cards=saved.cards)
    lines = []
    for name in sorted({*saved.facts, *now}):
        before, after = saved.facts.get(name), now.get(name)
        if "" in (before, after):
            continue
        if before is None:
            lines.append(f"{name}: is new, {after}")
        elif after is None:
            lines.append(f"{name}: is gone, was {before}")
        elif before != after:
            lines.append(f"{name}: was {before}, is {after}")
    return lines


def replanned(saved: Saved, plan: Plan) -> list[str]:
    """How this plan differs from the saved one, a line a step; empty when it may be carried out in its stead. There may
    be less to prepare, for it was done meanwhile, by this very plan maybe; all else must be the same."""
    before, after = saved.plan, document_of(plan)
    known = {step["id"] for step in _steps(before, "prepare")}
    more = [step["do"] for step in _steps(after, "prepare") if step["id"] not in known]
    if not more and canonical(_binding(before)) == canonical(_binding(after)):
        return []
    old, new = _lines(before), _lines(after)
    gone = [f"no longer: {line}" for line in old if line not in frozenset(new)]
    added = [f"now: {line}" for line in (*more, *new) if line not in frozenset(old)]
    return [*gone, *added] or ["the same steps, in another order or for another reason"]


def _steps(document: Json, phase: str) -> list[Json]:
    return [step for step in document["steps"] if step["phase"] == phase]


def _binding(document: Json) -> Json:
    """All but what is prepared, and on which of it a step waits."""
    steps = [{key: value for key, value in step.items() if key != "needs"} for step in _steps(document, "switch")]
    return {**document, "changes": bool(steps), "steps": steps}


def _lines(document: Json) -> list[str]:
    held = [f"leave {one['name']} as it is: {one['why']}" for one in document["held"]]
    unchanged = [f"{name} is as it should be" for name in document["unchanged"]]
    warnings = [f"warning: {one}" for one in document["warnings"]]
    pinned = [one["text"] for one in document["pinned"]]
    return [*(step["do"] for step in _steps(document, "switch")), *held, *unchanged, *warnings, *pinned]
