"""A plan as a comment on a pull request, in GitHub's and GitLab's Markdown. Pure.

Whatever comes from a file, a host or a log stands in a code span or a code block, where no Markdown, no HTML and no
@mention has a meaning; invisible and reordering characters are written out. Words of orch's own stand outside.
"""

import html
import re
from collections.abc import Iterable, Sequence

from orchestrator.drift import diff
from orchestrator.model import ModelRef, RuntimeSpec, Serve, Spec
from orchestrator.plan import (
    Adjust,
    Adopt,
    Change,
    Clear,
    Drift,
    FieldDiff,
    Forget,
    Pause,
    Plan,
    Reason,
    Repair,
    Start,
    Step,
    Stop,
)
from orchestrator.render import (
    by_subject,
    card_lines,
    cause_text,
    downtime_lines,
    field_text,
    mend_lines,
    own_drift,
    pin_text,
    side_text,
    step_lines,
)

MARKER = "<!-- orch plan -->"
"""The first line: by it a comment is found again, and updated in place."""
LIMIT = 60_000
"""Characters; GitHub refuses a comment of more than 65,536."""
BLOCK = 8_000  # characters of one block; five of them are not left out
LINE = 500  # characters of a line
_USUAL = Spec(ModelRef(), Serve(), RuntimeSpec("self"))


def markdown(plan: Plan, project: str, host: str = "") -> str:
    """``host`` is the environment for whose declared host it is, or "". Deployments that do not fit into ``LIMIT`` are
    left out, and counted."""
    where = f" for the host of {_code(host)}, as if nothing ran there" if host else ""
    title = [MARKER, f"### Plan of {_code(project)}{where}", f"**{summary(plan)}**"]
    head = [*title, *_held(plan), *_pinned(plan), *_warnings(plan)]
    tail = [*_steps(plan), *_gpus(plan)]
    sections = [*(_section(name, steps) for name, steps in by_subject(plan).items()), *_mends(plan)]
    shown = _fitting(sections, LIMIT - sum(len(block) + 2 for block in (*head, *tail)))
    left = len(sections) - len(shown)
    note = [f"And {left} more, which do not fit into a comment; `orch plan` shows them."] if left else []
    return "\n\n".join([*head, *shown, *note, *tail])


def summary(plan: Plan) -> str:
    """``1 to start, 0 to restart, 3 unchanged, 0 held``; the rarer kinds where there are some."""
    kinds = [kind_of(steps) for steps in by_subject(plan).values()]
    counts = [f"{kinds.count(kind)} to {kind}" for kind in ("start", "restart")]
    counts += [f"{kinds.count(kind)} to {kind}" for kind in ("stop", "wait for", "record") if kind in kinds]
    return ", ".join([*counts, f"{len(plan.unchanged)} unchanged", f"{len(plan.held)} held"])


def kind_of(steps: Iterable[Step]) -> str:
    """What becomes of the deployment that all of these are done to, in a word."""
    kinds: set[type[Change]] = {type(step.change) for step in steps}
    if Start in kinds:
        return "restart" if Stop in kinds else "start"
    if kinds <= {Stop, Clear, Pause, Forget}:
        return "stop"
    return "record" if kinds & {Adjust, Adopt} else "wait for"


# ------------------------------------------------------------------------------------------------------------ blocks


def _held(plan: Plan) -> list[str]:
    lines = [f"{one.name}: {one.why}; {one.do}" for one in plan.held]
    return [f"Left as it is, although it differs:\n\n{_block(lines)}"] if lines else []


def _pinned(plan: Plan) -> list[str]:
    return [f"Pinned to a revision:\n\n{_block(pin_text(one) for one in plan.pinned)}"] if plan.pinned else []


def _warnings(plan: Plan) -> list[str]:
    return [f"Warnings:\n\n{_block(plan.warnings)}"] if plan.warnings else []


def _section(name: str, steps: Sequence[Step]) -> str:
    drift = own_drift(steps)
    fields = [line for one in drift.diffs for line in _sides(one)] or _all_fields(drift, steps)
    return _details(kind_of(steps), name, _block([f"  {cause_text(drift)}", *fields], "diff"))


def _sides(one: FieldDiff) -> list[str]:
    if one.field.startswith("secrets."):
        return [f"! {field_text(one)}"]
    return [f"- {one.field}: {side_text(one, one.before)}", f"+ {one.field}: {side_text(one, one.after)}"]


def _all_fields(drift: Drift, steps: Sequence[Step]) -> list[str]:
    """Of one that is new, all that is not as usual."""
    if drift.reason is not Reason.NEW:
        return []
    specs = (step.change.deployment.spec for step in steps if isinstance(step.change, Start))
    return [_sides(one)[-1] for spec in specs for one in diff(_USUAL, spec)]


def _steps(plan: Plan) -> list[str]:
    if plan.empty:
        return []
    prepare = [step for step in plan.steps if step.prepares]
    switch = [step for step in plan.steps if not step.prepares]
    found = ["**Steps**"]
    if prepare:
        found.append(f"Prepare (nothing is stopped before all of this has succeeded):\n\n{_block(step_lines(prepare))}")
    found.append(f"Switch:\n\n{_block([*step_lines(switch, len(prepare) + 1), *downtime_lines(plan)])}")
    return found


def _mends(plan: Plan) -> list[str]:
    mends = [step.change.mend for step in plan.steps if isinstance(step.change, Repair) and step.change.mend]
    return [_details("mend libcuda of", one.environment, _block(mend_lines(one))) for one in mends]


def _gpus(plan: Plan) -> list[str]:
    return [f"**GPUs**, before and after\n\n{_block(card_lines(plan))}"] if plan.gpus else []


def _fitting(sections: Sequence[str], room: int) -> list[str]:
    room -= 100  # for the line that says how many are left out
    found = []
    for section in sections:
        room -= len(section) + 2
        if room < 0:
            break
        found.append(section)
    return found


# -------------------------------------------------------------------------------------------------- what is not orch's


def _details(kind: str, name: str, block: str) -> str:
    """Folded away. In an HTML block no Markdown is read until the first blank line."""
    return f"<details><summary>{kind} <code>{html.escape(_plain(name))}</code></summary>\n\n{block}\n\n</details>"


def _block(lines: Iterable[str], kind: str = "text") -> str:
    """Fenced by more backticks than it holds in a row."""
    given = [_plain(line) for line in lines]
    shown: list[str] = []
    room = BLOCK - 200
    for line in given:
        room -= len(line) + 1
        if room < 0:
            break
        shown.append(line)
    if left := len(given) - len(shown):
        shown.append(f"(and {left} more {'line' if left == 1 else 'lines'})")
    fence = "`" * max(3, _backticks("\n".join(shown)) + 1)
    return "\n".join([f"{fence}{kind}", *shown, fence])


def _code(text: str) -> str:
    plain = _plain(text) or "-"
    mark = "`" * (_backticks(plain) + 1)
    pad = " " if plain.startswith(("`", " ")) or plain.endswith(("`", " ")) else ""
    return f"{mark}{pad}{plain}{pad}{mark}"


def _backticks(text: str) -> int:
    """The longest row of them."""
    return max((len(row) for row in re.findall("`+", text)), default=0)


def _plain(text: str) -> str:
    """On one line, with what cannot be seen written out, and not too long."""
    seen = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text[: LINE + 1])
    return seen if len(seen) <= LINE else f"{seen[:LINE]}…"
