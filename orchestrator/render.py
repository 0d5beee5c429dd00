"""Plans, states and outcomes as text and as JSON documents. Pure, sorted, without colour: the same value, the same
text. What a person reads is made here and nowhere else."""

import json
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.cards import gpu_lines
from orchestrator.codec import digest
from orchestrator.columns import columns
from orchestrator.model import Deployment, Instance, Json, Mend, Phase, Placement, Pull, Weights
from orchestrator.plan import (
    Adjust,
    Adopt,
    AwaitReady,
    BuildRuntime,
    Change,
    Clear,
    Drift,
    Fetch,
    FieldDiff,
    Forget,
    GpuRow,
    Pause,
    Pinned,
    Plan,
    Preflight,
    Reason,
    Repair,
    Start,
    Step,
    Stop,
)
from orchestrator.status import GpuUse, Row
from orchestrator.units import format_duration, format_memory, format_size

VERSION = 1
"""Of the JSON documents: raised when a key changes its meaning or goes."""


# ------------------------------------------------------------------------------------------------------------- plans


def plan_text(plan: Plan, project: str) -> str:
    """What would happen, in the order in which it would, with the cause of each."""
    lines: list[str] = []
    for name in plan.unchanged:
        lines.append(f"  = {name}: as it should be")
    for held in plan.held:
        lines.append(f"  ! {held.name}: left as it is: {held.why}; {held.do}")
    lines += [f"  ! {pin_text(one)}" for one in plan.pinned]
    for name in sorted({_subject(step) for step in plan.steps}):
        lines += _summary(name, [step for step in plan.steps if _subject(step) == name])
    if plan.empty:
        title = f"Nothing can be changed in {project}." if plan.held else f"Nothing to change in {project}."
        return "\n".join([title, *lines])
    prepare = [step for step in plan.steps if step.prepares]
    switch = [step for step in plan.steps if not step.prepares]
    text = [f"Plan for {project}:", *lines, ""]
    if prepare:
        text += ["prepare (nothing is stopped before all of this has succeeded)", *_steps(prepare, 1)]
    text += ["switch", *_steps(switch, len(prepare) + 1)]
    return "\n".join([*text, *_mended(plan), *_downtime(plan), *_gpu_table(plan.gpus), *_warned(plan)])


def pin_text(one: Pinned) -> str:
    """What holds a deployment at a revision, or does not any more, and how to end it."""
    if one.turn == "ends":
        return f"{one.name}: its pin to revision {one.number} ends, and it follows its files again"
    how = "goes back to revision {0}, and is pinned there" if one.turn == "begins" else "pinned to revision {0}"
    differs = f", though its files differ in {', '.join(one.differs)}" if one.differs else ""
    return f"{one.name}: {how.format(one.number)}{differs}; `orch apply --unpin {one.name}` follows its files again"


def _mended(plan: Plan) -> list[str]:
    mends = [step.change.mend for step in plan.steps if isinstance(step.change, Repair) and step.change.mend]
    return [line for mend in mends for line in ("", *mend_lines(mend))]


def mend_lines(mend: Mend) -> list[str]:
    """What a mended libcuda changes in the engine's environment, line by line, and why."""
    lines = [f"libcuda of {mend.environment}: {'; '.join(mend.why)}", "the engine's environment"]
    for name in sorted({*mend.before, *mend.after}):
        lines += [
            f"  {mark} {name}={held[name]}" for mark, held in (("-", mend.before), ("+", mend.after)) if name in held
        ]
    return lines


def _gpu_table(rows: Sequence[GpuRow]) -> list[str]:
    return ["", *gpu_lines(rows)] if rows else []


def _warned(plan: Plan) -> list[str]:
    return ["", *(f"warning: {one}" for one in plan.warnings)] if plan.warnings else []


def _subject(step: Step) -> str:
    """The deployment a step is done to, which may stand in the way of the one whose rollout it belongs to."""
    return step.change.instance.name if isinstance(step.change, Stop | Clear) else step.name


def _summary(name: str, steps: Sequence[Step]) -> list[str]:
    own = next((step for step in steps if not isinstance(step.change, Clear)), steps[0])
    kinds = {type(step.change) for step in steps}
    mark = "~"
    if Start in kinds and Stop not in kinds:
        mark = "+"
    elif kinds <= {Stop, Clear, Pause, Forget}:
        mark = "-"
    return [f"  {mark} {name}: {_cause(own.drift)}", *(f"      {_field(one)}" for one in own.drift.diffs)]


def _cause(drift: Drift) -> str:
    if drift.reason is Reason.CHANGED and drift.diffs:
        return f"{_count(len(drift.diffs), 'field differs', 'fields differ')}, which needs a restart"
    if drift.reason is Reason.RECORD and drift.detail:
        return drift.detail
    return f"{drift.reason.value}: {drift.detail}" if drift.detail else drift.reason.value


def _field(one: FieldDiff) -> str:
    if one.field.startswith("secrets."):
        return f"{one.field}: {_secret_change(one)}"
    absent = "(unset)" if one.field.startswith(("env.", "runtime.")) else "(default)"
    return f"{one.field}: {_value(one.before, absent)} -> {_value(one.after, absent)}"


def _secret_change(one: FieldDiff) -> str:
    return "added" if one.before is None else "removed" if one.after is None else "another value"


def _value(value: Json, absent: str) -> str:
    return absent if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _steps(steps: Sequence[Step], first: int) -> list[str]:
    words = [describe(step.change) for step in steps]
    width = max(len(verb) for verb, _ in words)
    return [f"  {number}. {verb:<{width}}  {rest}".rstrip() for number, (verb, rest) in enumerate(words, first)]


def describe(change: Change) -> tuple[str, str]:
    """The step in a few words: what is done to which deployment, and with what."""
    match change:
        case BuildRuntime(wanted):
            return f"build the runtime of {wanted.environment}", wanted.spec.runtime.label
        case Fetch(_, weights):
            return weights_text(weights)
        case Repair(wanted, mend):
            laid = mend and f"links in {mend.laid.folder} to {mend.laid.target}"
            return f"mend libcuda of {wanted.environment}", laid or "if its runtime turns out to need it"
        case Preflight(wanted):
            return f"check {wanted.name}", "model, runtime, flags by the engine's own parser, log folder"
        case Stop(instance, drain):
            how = f"draining up to {format_duration(drain)}" if drain else "at once"
            return f"stop {instance.name}", f"{_who(instance)}, {how}"
        case Clear(instance):
            return f"clear {instance.name}", f"left-over processes {_pids(instance)}"
        case Start(wanted, placement):
            where = f"port {wanted.spec.serve.port}{_on_gpus(placement)}"
            return f"start {wanted.name}", f"{wanted.spec.model.label} on {where}"
        case AwaitReady(wanted):
            return f"await {wanted.name}", f"until it answers, up to {format_duration(wanted.policy.ready_timeout)}"
        case Adjust(wanted):
            return f"record {wanted.name}", "the engine goes on"
        case Adopt(attempt):
            return f"adopt {attempt.deployment.name}", f"pid {attempt.pid}, which goes on"
        case Pause(name, because):
            return f"mark {name} stopped", because
        case Forget(name):
            return f"forget {name}", "its record and its logs"


def _on_gpus(placement: Placement | None) -> str:
    if placement is None or not placement.gpus:
        return ""
    given = [str(index) for index in placement.indexes] or placement.gpus
    return f" and GPU {given[0]}" if len(given) == 1 else f" and GPUs {', '.join(given)}"


def weights_text(one: Weights) -> tuple[str, str]:
    """What is to be done about a repository, and with how much."""
    name = f"{one.use.repo}@{one.commit[:8] if one.commit else one.use.revision}"
    if one.total is None:
        return f"fetch {name}", f"how much is not known: {one.why}"
    left = f"; {_count(one.left_out, 'other file', 'other files')} left out" if one.left_out else ""
    files = f"{format_size(one.total)} in {_count(one.files, 'file', 'files')} ({one.kind}{left})"
    if one.here < one.total:
        return f"fetch {name}", files + (f", {format_size(one.here)} already here" if one.here else "")
    todo = f"{format_size(one.unverified)} of it to be hashed once" if one.unverified else "to be linked"
    return f"verify {name}", f"{files}, all already here, {todo}"


def complete_text(one: Weights) -> str:
    """After a pull."""
    size = format_size(one.total or 0)
    name = f"{one.use.repo}@{(one.commit or one.use.revision)[:8]}"
    return f"{name} is complete: {size} in {_count(one.files, 'file', 'files')} ({one.kind}), verified, in {one.cache}"


def pull_text(pull: Pull, width: int = 0) -> str:
    """How far a fetch is, on one line: done, rate, and how long still; with a bar where there is ``width`` for one."""
    name = f"{pull.repo}@{pull.commit[:8]}"
    files = f"{pull.files_done}/{pull.files} files"
    if not pull.total:
        return f"{pull.doing} {name}: {files}"
    done = min(pull.done, pull.total)
    share = f"{100 * done // pull.total:3d}%"
    rate = f"{format_size(pull.rate)}/s" if pull.rate else "-"
    left = format_duration(round((pull.total - done) / pull.rate)) if pull.rate >= 1 else "?"
    text = f"{share}  {format_size(done)} of {format_size(pull.total)}  {rate}  {left} left  {files}"
    room = width - len(f"{pull.doing} {name}  [] {text}")
    bar = f"[{_bar(done, pull.total, min(30, room))}] " if room >= 10 else ""
    return f"{pull.doing} {name}  {bar}{text}"


def _bar(done: int, total: int, width: int) -> str:
    return ("#" * (width * done // total)).ljust(width, ".")


def pull_json(pull: Pull) -> Json:
    return {
        "repo": pull.repo,
        "commit": pull.commit,
        "cache": pull.cache,
        "pid": pull.pid,
        "doing": pull.doing,
        "done_bytes": pull.done,
        "total_bytes": pull.total,
        "bytes_per_second": round(pull.rate),
        "files_done": pull.files_done,
        "files": pull.files,
    }


def weights_json(one: Weights) -> Json:
    return {
        "repo": one.use.repo,
        "revision": one.use.revision,
        "commit": one.commit,
        "used_as": one.use.slot,
        "cache": one.cache,
        "total_bytes": one.total,
        "here_bytes": one.here,
        "unverified_bytes": one.unverified,
        "files": one.files,
        "files_left_out": one.left_out,
        "complete": one.complete,
        "why": one.why,
    }


def _who(instance: Instance) -> str:
    return f"pid {instance.leader.pid}" if instance.leader else "no process"


def _pids(instance: Instance) -> str:
    return ", ".join(f"{one.pid} ({one.command})" for one in instance.children)


def _downtime(plan: Plan) -> list[str]:
    if not plan.downtime:
        return []
    known = [
        f"{name} about {format_duration(round(cost))}, as its last start" if cost else f"{name} unknown, never measured"
        for name, cost in plan.downtime.items()
    ]
    return ["", "expected downtime: " + "; ".join(known)]


def plan_json(plan: Plan, project: str) -> Json:
    return {
        "version": VERSION,
        "project": project,
        "changes": not plan.empty,
        "unchanged": list(plan.unchanged),
        "held": [{"name": one.name, "why": one.why, "do": one.do} for one in plan.held],
        "steps": [_step_json(step) for step in plan.steps],
        "downtime_seconds": dict(plan.downtime),
        "gpus": [_gpu_json(row) for row in plan.gpus],
        "warnings": list(plan.warnings),
        "pinned": [_pin_json(one) for one in plan.pinned],
    }


def _pin_json(one: Pinned) -> Json:
    differs = list(one.differs)
    return {"name": one.name, "revision": one.number, "turn": one.turn, "differs": differs, "text": pin_text(one)}


def _gpu_json(row: GpuRow) -> Json:
    now, then = ([{"who": one.who, "bytes": one.memory} for one in held] for held in (row.before, row.after))
    return {"index": row.index, "name": row.name, "usable_bytes": row.usable, "now": now, "then": then}


def _step_json(step: Step) -> Json:
    return {
        "id": step.id,
        "deployment": step.name,
        "phase": "prepare" if step.prepares else "switch",
        "do": " ".join(describe(step.change)).strip(),
        "reason": step.drift.reason.value,
        "detail": step.drift.detail,
        "fields": [field_json(one) for one in step.drift.diffs],
        "needs": list(step.needs),
        **_details(step.change),
    }


def _details(change: Change) -> dict[str, Json]:
    match change:
        case Fetch(_, weights):
            return {"weights": weights_json(weights)}
        case Repair(_, Mend() as mend):
            laid = {"folder": mend.laid.folder, "target": mend.laid.target}
            return {"mend": {**laid, "why": list(mend.why), "before": dict(mend.before), "after": dict(mend.after)}}
        case Start(_, Placement() as placement):
            return {"gpus": {"indexes": list(placement.indexes), "visible": list(placement.gpus)}}
        case _:
            return {}


def field_json(one: FieldDiff) -> Json:
    if one.field.startswith("secrets."):
        return {"field": one.field, "change": _secret_change(one)}
    return {"field": one.field, "before": one.before, "after": one.after}


# ------------------------------------------------------------------------------------------------------------ status


def status_text(rows: Sequence[Row], now: float, pulls: Sequence[Pull] = ()) -> str:
    fetching = [f"{pull_text(pull)} (pid {pull.pid})" for pull in pulls]
    if not rows:
        nothing = "Nothing is deployed in this project; begin with `orch apply profiles/NAME.yaml`."
        return "\n".join([nothing, *fetching])
    table = [("NAME", "PHASE", "MODEL", "ENDPOINT", "UP", "DRIFT")]
    table += [
        (row.name, row.phase, row.model or "-", row.endpoint or "-", _uptime(row, now), _drift(row)) for row in rows
    ]
    lines = columns(table)
    for row in rows:
        lines += [f"  {row.name}: {note}" for note in row.notes]
        if row.gpus:
            lines.append(f"  {row.name}: {', '.join(_gpu_use(one) for one in row.gpus)}")
        if row.supervised_by:
            lines.append(f"  {row.name}: supervised by {row.supervised_by}")
        if row.log:
            lines.append(f"  {row.name}: log {row.log}")
    return "\n".join([*lines, *fetching])


def _gpu_use(one: GpuUse) -> str:
    return f"GPU {one.index}" + (f" {format_memory(one.memory)}" if one.memory is not None else "")


def _alive(row: Row) -> bool:
    return row.phase in {Phase.STARTING, Phase.READY, Phase.UNHEALTHY}


def _uptime(row: Row, now: float) -> str:
    return format_duration(max(0, round(now - row.since))) if _alive(row) and row.since else "-"


def _drift(row: Row) -> str:
    """What does not run cannot differ."""
    return row.drift or ("none" if _alive(row) else "-")


def status_json(rows: Iterable[Row], now: float, pulls: Iterable[Pull] = ()) -> Json:
    deployments = [_row_json(row) for row in rows]
    return {"version": VERSION, "at": now, "deployments": deployments, "pulls": [pull_json(one) for one in pulls]}


def _row_json(row: Row) -> Json:
    return {
        "name": row.name,
        "phase": row.phase,
        "model": row.model,
        "served_names": list(row.served),
        "endpoint": row.endpoint,
        "pid": row.pid,
        "processes": list(row.pids),
        "since": row.since,
        "supervised_by": row.supervised_by,
        "gpus": [{"index": one.index, "memory_bytes": one.memory} for one in row.gpus],
        "revision": row.revision,
        "digest": row.digest,
        "drift": row.drift,
        "log": row.log,
        "notes": list(row.notes),
        "progress": row.progress,
        "pinned": row.pinned,
        "restarts": row.restarts,
        "measured": dict(row.measured),
        "estimate": dict(row.estimate),
        "rejected": [{"digest": one.digest, "why": one.why, "at": one.at, "log": one.log} for one in row.rejected],
    }


# ---------------------------------------------------------------------------------------------------------- outcomes


def served_text(wanted: Deployment, url: str) -> str:
    """Where it answers, under which name, and a command that proves it."""
    model = wanted.served_names[0]
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 32})
    key = ' -H "Authorization: Bearer $VLLM_API_KEY"' if "VLLM_API_KEY" in wanted.secret_refs else ""
    insecure = " -k" if url.startswith("https") else ""
    quoted = body.replace("'", "'\\''")
    json_type = "-H 'Content-Type: application/json'"
    return "\n".join(
        [
            f"{wanted.name} is ready.",
            f"  base URL  {url}/v1",
            f"  model     {', '.join(wanted.served_names)}",
            f"  try       curl -s{insecure} {url}/v1/chat/completions {json_type}{key} -d '{quoted}'",
        ]
    )


def served_json(wanted: Deployment, url: str) -> Json:
    return {
        "name": wanted.name,
        "base_url": f"{url}/v1",
        "models": list(wanted.served_names),
        "digest": digest(wanted.spec),
    }


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def document(value: Mapping[str, Json]) -> str:
    return json.dumps(value, indent=2, sort_keys=False, ensure_ascii=False)


# ---------------------------------------------------------------------------------------- parts, for other documents


def by_subject(plan: Plan) -> dict[str, list[Step]]:
    """The steps by the deployment that each is done to, sorted by its name."""
    found: dict[str, list[Step]] = {}
    for step in plan.steps:
        found.setdefault(_subject(step), []).append(step)
    return {name: found[name] for name in sorted(found)}


def own_drift(steps: Sequence[Step]) -> Drift:
    """Why these are done to one deployment."""
    return next((step for step in steps if not isinstance(step.change, Clear)), steps[0]).drift


def cause_text(drift: Drift) -> str:
    return _cause(drift)


def field_text(one: FieldDiff) -> str:
    return _field(one)


def side_text(one: FieldDiff, side: Json) -> str:
    """One side of a difference that is of no secret."""
    return _value(side, "(unset)" if one.field.startswith(("env.", "runtime.")) else "(default)")


def step_lines(steps: Sequence[Step], first: int = 1) -> list[str]:
    return [line.strip() for line in _steps(steps, first)]


def downtime_lines(plan: Plan) -> list[str]:
    return [line for line in _downtime(plan) if line]


def card_lines(plan: Plan) -> list[str]:
    return [line for line in _gpu_table(plan.gpus) if line]
