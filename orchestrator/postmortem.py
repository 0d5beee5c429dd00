"""Why an engine ended, as far as this machine can tell: its log, its exit and the kernel's words, held against the
catalogue of failures."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from orchestrator import diagnosis_data
from orchestrator.aside import Aside
from orchestrator.diagnosis.facts import facts
from orchestrator.diagnosis.kernel import concerning, oom_killed
from orchestrator.diagnosis.lines import read
from orchestrator.diagnosis.mask import mask
from orchestrator.diagnosis.match import KERNEL, diagnose
from orchestrator.diagnosis.model import Diagnosis, Ending, Line, Signature, Stage
from orchestrator.diagnosis.pieces import Pieces
from orchestrator.diagnosis.stages import replay
from orchestrator.diagnosis.text import diagnosis_text
from orchestrator.engines import vllm
from orchestrator.errors import OrchError
from orchestrator.model import Attempt, Exit, Instance, Inventory, Marker, Scalar
from orchestrator.ports import Eyes
from orchestrator.secret_values import Hide, hider
from orchestrator.stage_data import load_stages

_PART_KILLED = re.compile(r"died unexpectedly \(exit code: -9\)|Failed core proc\(s\): \{[^}]{0,200}: -9\b")
"""As the API server says it of another process."""

LAST_WORDS = 50  # lines
PATIENCE = 3.0  # seconds for signatures of one's own, whose patterns may take for ever


@dataclass(frozen=True, slots=True)
class Postmortem:
    """``attempt`` with what was learnt of its end; ``plain`` says how it ended without a diagnosis. ``trouble`` is what
    stood in the way of a better one."""

    attempt: Attempt
    diagnosis: Diagnosis
    ending: Ending
    plain: str = ""
    trouble: str = ""
    numbered: bool = True  # the evidence's numbers are those of the log's lines as it lies there

    @property
    def why(self) -> str:
        """In a line, for the record: what the catalogue tells of it, else how it ended."""
        return self.plain if self.plain and not self._read_off_the_log else self.lines("")[0]

    @property
    def _read_off_the_log(self) -> bool:
        """The catalogue tells more than how it ended."""
        found = self.diagnosis.signature
        return found is not None and bool(found.patterns or found.hints or found.last)

    @property
    def final(self) -> bool:
        """Whether another start ends the same way, as far as that is known."""
        return bool(self.diagnosis.final)

    def lines(self, subject: str) -> tuple[str, ...]:
        """At most 12; the first begins with ``subject`` ("cannot start a: ")."""
        found, ending = self.diagnosis, self.ending
        if self.plain and not self._read_off_the_log:
            found, ending = replace(found, title=self.plain), Ending()
        return diagnosis_text(found, ending, subject, self._where)

    @property
    def _where(self) -> str:
        """The log, or how to see it with these numbers."""
        attempt = self.attempt
        number = attempt.id.partition("-")[0]
        if self.numbered or not number.isdigit():
            return attempt.log
        return f"orch logs {attempt.deployment.name} --attempt {int(number)} --raw | cat -n"


def examine(eyes: Eyes, attempt: Attempt, plain: str = "", lives: Iterable[Instance] = ()) -> Postmortem:
    """``lives``: what is left of it. Takes some 0.2 s, and a second or two for a log of many megabytes. Raises nothing:
    whatever goes wrong here, how the engine ended is what a person has to read."""
    try:
        return _examine(eyes, attempt, plain, lives)
    except OrchError as error:
        trouble = str(error)
    except Exception as error:  # noqa: BLE001 (a mistake here must not hide the failure itself)
        trouble = (
            f"cannot say why it ended: {type(error).__name__} inside orch, which is a mistake in it; please report it"
        )
    title = plain or "it ended"
    unknown = Diagnosis(None, cast(Stage, attempt.stage), title)
    return Postmortem(attempt, unknown, ending_of(attempt), plain, trouble)


def _examine(eyes: Eyes, attempt: Attempt, plain: str, lives: Iterable[Instance]) -> Postmortem:
    wanted = attempt.deployment
    info = eyes.runtimes.state(wanted.spec.runtime).info
    text = eyes.logs.text(attempt.log)
    lines = read(text)
    inventory = eyes.gpus.inventory()
    attempt, said = _by_the_kernel(eyes, attempt, lines, inventory)
    stage = cast(Stage, attempt.stage) or stage_of(text, info.version if info else "")
    known = facts(
        wanted,
        inventory,
        info,
        gpus=attempt.gpus,
        leaving=lives,
        environment_file=_environment_file(eyes.state.root, wanted.environment),
    )
    gone = attempt.exit is None and not (attempt.timed_out or attempt.hung or any(one.leader for one in lives))
    vanished = gone and not vllm.left_in_order([line.text for line in lines[-LAST_WORDS:]])
    ending = replace(ending_of(attempt), vanished=vanished)
    found, trouble = _diagnosed(lines, ending, stage, {**known, **said}, eyes.host.variables)
    found, numbered = _hidden(found, hider(eyes, [wanted])), eyes.logs.numbered(attempt.log)
    return Postmortem(replace(attempt, stage=stage), found, ending, plain, trouble, numbered)


def _hidden(found: Diagnosis, hide: Hide) -> Diagnosis:
    """Without secrets in what it quotes of the log."""
    return replace(
        found,
        title=hide(found.title),
        means=hide(found.means),
        evidence=tuple(replace(line, text=hide(line.text)) for line in found.evidence),
        cure=tuple(map(hide, found.cure)),
        diff=tuple(map(hide, found.diff)),
        changes={field: hide(new) if isinstance(new, str) else new for field, new in found.changes.items()},
    )


def _diagnosed(
    lines: Sequence[Line], ending: Ending, stage: Stage, known: Mapping[str, Scalar], variables: Mapping[str, str]
) -> tuple[Diagnosis, str]:
    """By the shipped signatures and those of one's own; and what kept it from those."""
    shipped = diagnosis_data.load()
    try:
        catalogue = signatures(variables)
        if catalogue == shipped:
            return diagnose(lines, ending, stage, shipped, known), ""
        return Aside(lambda: diagnose(lines, ending, stage, catalogue, known), PATIENCE).ask(), ""
    except OrchError as error:
        trouble = str(error)
    except (TimeoutError, ChildProcessError, RuntimeError):
        own = diagnosis_data.own_folder(variables)
        trouble = f"the signatures in {own} gave no answer within {PATIENCE:g} s; make their patterns simpler"
    return diagnose(lines, ending, stage, shipped, known), trouble


def _environment_file(root: Path, name: str) -> str:
    file = root / "environments" / f"{name}.yaml"
    return str(file) if os.path.isfile(file) else ""  # noqa: PTH113 (never raises)


def read_log(text: str, variables: Mapping[str, str]) -> Diagnosis:
    """Of a log from anywhere, of which nothing else is known. Raises InputError for a catalogue of one's own that
    cannot be read."""
    return _hidden(diagnose(read(text), Ending(), stage_of(text), signatures(variables)), mask)


def signatures(variables: Mapping[str, str]) -> Sequence[Signature]:
    return diagnosis_data.load(diagnosis_data.own_folder(variables))


def ending_of(attempt: Attempt) -> Ending:
    how = attempt.exit or Exit()
    ready = attempt.ready_at is not None
    return Ending(how.code, how.signal, how.oom_killed, not ready, attempt.timed_out, attempt.hung)


def stage_of(text: str, version: str = "") -> Stage:
    return replay(load_stages(version), Pieces().feed(text.encode(errors="replace") + b"\n")).stage


def _by_the_kernel(
    eyes: Eyes, attempt: Attempt, lines: Sequence[Line], inventory: Inventory | None
) -> tuple[Attempt, Mapping[str, Scalar]]:
    """With what the kernel and the service manager tell of its end."""
    how = attempt.exit or eyes.target.ended(Marker(eyes.state.project, attempt.deployment.name, attempt.id), attempt)
    if attempt.boot != eyes.target.boot:  # the same numbers are other processes now
        return replace(attempt, exit=how), {}
    pids = {attempt.pid, *(line.pid for line in lines if line.pid)}
    part = any(_PART_KILLED.search(line.text) for line in lines)
    told = eyes.logs.kernel(attempt.at)
    after = eyes.logs.oom_kills(attempt.cgroup) if attempt.cgroup else None
    killed = how.oom_killed if how else None  # once known, it stays
    if killed is None:
        killed = oom_killed(how, pids, told, attempt.oom_kills, after, part)
    cards = inventory.gpus if inventory else ()
    buses = [one.pci for one in cards if {one.uuid, str(one.index)} & set(attempt.gpus)]
    words = "\n".join(concerning(told or (), pids, buses))
    if how or killed:  # of one that lives on nothing is known yet
        how = replace(how or Exit(), oom_killed=killed)
    return replace(attempt, exit=how), {KERNEL: words} if words else {}
