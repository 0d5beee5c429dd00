"""The values of a diagnosis."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.model import Scalar

Stage = Literal[
    "",
    "environment",
    "imports",
    "config",
    "download",
    "load",
    "compile",
    "profiling",
    "capture",
    "warmup",
    "serving",
]
"""How far a start came, in the order in which an engine goes through them; empty where that is not known."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log. ``number`` is 1-based; ``process`` and ``pid`` as the engine's own prefix tells them
    ("APIServer", "EngineCore", "Worker_TP0"; empty and 0 where it tells none); ``text`` is without that prefix and
    without control codes, of a progress bar its last state. ``level``: "INFO", "WARNING", "ERROR" or ""."""

    number: int
    text: str
    process: str = ""
    pid: int = 0
    level: str = ""


@dataclass(frozen=True, slots=True)
class Ending:
    """How the engine ended, as far as that is known. ``oom_killed``: by the kernel, for want of memory; None where
    nobody can tell. ``timed_out``: it lived on, and was not ready within its time. ``hung``: it had been ready, and
    no longer served. ``vanished``: it is gone, nobody waited for it, and it was not told to go in its own words."""

    code: int | None = None
    signal: int | None = None
    oom_killed: bool | None = None
    before_ready: bool = True
    timed_out: bool = False
    hung: bool = False
    vanished: bool = False


@dataclass(frozen=True, slots=True)
class Cure:
    """What a person does about it. ``set`` maps a field to a value, and ``remove`` names fields: of the profile, by
    their dotted path ("serve.max_model_len"), or of its environment, with "environment." in front. All texts may hold
    ``{name}``: a group of the pattern, a fact, or a number made of those (`amounts`). A field of which one is unknown
    is left alone. ``command`` is for a shell."""

    set: Mapping[str, Scalar] = field(default_factory=dict)
    remove: tuple[str, ...] = ()
    command: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """One way to fail. ``title`` says it in a few words, ``means`` in two sentences; how they are matched stands in
    `match`.

    ``patterns`` are looked for in errors, ``hints`` in lines of any level, ``last`` in the last lines of all. Where
    ``beside`` or ``stages`` are given, one of ``beside`` must stand anywhere in the log, or the start have been in one
    of ``stages``. ``endings`` must all hold: a name of `endings.CONDITIONS`, "signal N", "code N" or "fact NAME".
    ``alone``: where they do, it fits without any line, too; one that is found tells more. ``general``: what else was
    found tells more; ``over``: ids of those that tell less where this one fits. ``issues``:
    a project and a number there ("vllm 1234"). ``final``: another start with the same inputs ends the same way.
    ``example`` is an excerpt of a log that shows it."""

    id: str
    title: str
    means: str
    patterns: tuple[re.Pattern[str], ...] = ()
    hints: tuple[re.Pattern[str], ...] = ()
    last: tuple[re.Pattern[str], ...] = ()
    beside: tuple[re.Pattern[str], ...] = ()
    stages: tuple[Stage, ...] = ()
    endings: tuple[str, ...] = ()
    cure: Cure = Cure()
    issues: tuple[str, ...] = ()
    general: bool = False
    over: tuple[str, ...] = ()
    final: bool = False
    example: str = ""
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why it ended, or what is known instead. ``signature`` is None for a failure that the catalogue does not hold.
    ``evidence`` are lines of the log, the one that decided first. ``changes`` maps fields to new values, as in Cure,
    None for one to be removed; ``diff`` is the same as a person pastes it. ``cure`` are the command, then the advice;
    for an unknown failure, the lines of a signature of it. ``final`` is None where nobody can tell."""

    signature: Signature | None
    stage: Stage
    title: str
    evidence: tuple[Line, ...] = ()
    means: str = ""
    cure: tuple[str, ...] = ()
    diff: tuple[str, ...] = ()
    changes: Mapping[str, Scalar] = field(default_factory=dict)
    issues: tuple[str, ...] = ()
    final: bool | None = None
