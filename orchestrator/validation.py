"""What `orch validate` does: profiles and environments, each held against itself and what it names, and a set of them
against each other. Reads files and nothing else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from orchestrator.declared import crowded
from orchestrator.errors import OrchError
from orchestrator.find import display, folder_files
from orchestrator.findings import Findings, coded, each
from orchestrator.load import clashes, environment_file, load_environment, load_profile, profile_files, same_names
from orchestrator.lock_changes import unheld_models, unheld_runtime
from orchestrator.lock_store import base, read_lock
from orchestrator.lockfile import NAME, Base, Lock
from orchestrator.model import Environment, Profile
from orchestrator.pins import locked
from orchestrator.resolve import resolve
from orchestrator.spread import processors, spread
from orchestrator.verdicts import Verdict, place, valid

WORTH_A_HELPER = 150
"""Files. So many take about as long as it takes to start a process that takes some off."""

Judge = Callable[[Profile, Environment], Findings]
"""What else there is to say of a profile that is good by itself, in a good environment."""


@dataclass(frozen=True, slots=True)
class Question:
    """``root`` is the project's folder, ``variables`` what ``${VAR}`` is taken from, ``given`` are KEY=VALUEs, ``lock``
    is what the project's orch.lock holds."""

    root: Path
    variables: Mapping[str, str]
    given: Sequence[str] = ()
    judge: Judge | None = None
    together: bool = False
    lock: Lock | None = None

    @property
    def base(self) -> Base:
        return base(self.root, self.variables)


def validate(paths: Sequence[str], question: Question) -> tuple[Verdict, ...]:
    """Of the files that PATHs stand for and the environments that these name, each once. A file of a folder called
    environments is one, anything else is taken for a profile."""
    question, about_lock = _with_lock(question)
    chosen, errors = _chosen(paths)
    environments = [_environment(path, question) for path in dict.fromkeys(filter(_is_environment, chosen))]
    files, unknown = profile_files([path for path in chosen if not _is_environment(path)], question.root)
    answers = spread(partial(_profile, question, _Environments(question)), files, _helpers(len(files)))
    named = {file for answer in answers if (file := answer.environment)}
    verdicts = [
        *environments,
        *([Verdict("", (*errors, *unknown))] if errors or unknown else ()),
        *(answer.verdict for answer in answers),
        *(_environment(file, question) for file in sorted(named - {one.file for one in environments})),
        *about_lock,
    ]
    verdicts = _shared_out(same_names((one.name, one.at) for one in answers if one.name), verdicts)
    if question.together and valid(verdicts):
        verdicts = _shared_out(_together([one.profile for one in answers if one.profile], question), verdicts)
    return tuple(verdicts)


def _with_lock(question: Question) -> tuple[Question, list[Verdict]]:
    """A project without one is no worse for it."""
    file = display(question.root / NAME)
    try:
        lock = read_lock(question.root)
    except OrchError as error:
        return question, [Verdict(file, each(error))]
    return replace(question, lock=lock), [Verdict(file)] if lock is not None else []


def _helpers(files: int) -> int:
    return min(processors() - 1, files // WORTH_A_HELPER)


# ------------------------------------------------------------------------------------------------------------ PATHs


def _chosen(paths: Sequence[str]) -> tuple[list[str], list[OrchError]]:
    """A folder called environments is the files in it: they are no profiles."""
    chosen: list[str] = []
    errors: list[OrchError] = []
    for path in paths:
        here = Path(path)
        if not (here.is_dir() and here.absolute().name == "environments"):
            chosen.append(path)
            continue
        try:
            with coded("unreadable"):
                chosen += map(str, folder_files(path))
        except OrchError as error:
            errors += each(error)
    return chosen, errors


def _is_environment(path: str) -> bool:
    return Path(path).is_file() and Path(path).absolute().parent.name == "environments"


# -------------------------------------------------------------------------------------------------------- each alone


def _environment(path: str, question: Question) -> Verdict:
    try:
        found = load_environment(path, question.variables)
        gap = unheld_runtime(question.lock, found.runtime, found.source, question.base) if question.lock else ()
        return Verdict(display(path), warnings=(*found.warnings, *gap))
    except OrchError as error:
        return Verdict(display(path), each(error))


@dataclass(slots=True)
class _Environments:
    """Each is loaded once, by whoever needs it first."""

    question: Question
    _known: dict[str, tuple[str, Environment | None]] = field(default_factory=dict)

    def get(self, name: str, at: str) -> tuple[str, Environment | None]:
        """Its file, and what is in it if that is good. Raises InputError when there is no file."""
        if name not in self._known:
            file = environment_file(name, self.question.root, at)
            try:
                found = load_environment(file, self.question.variables)
                found = replace(found, runtime=locked(found.runtime, self.question.lock, self.question.base))
            except OrchError:
                found = None
            self._known[name] = display(file), found
        return self._known[name]


@dataclass(frozen=True, slots=True)
class _Answer:
    """``at`` is where the name stands, ``environment`` the file of the one it names; ``profile`` is for a set."""

    verdict: Verdict
    name: str = ""
    at: str = ""
    environment: str = ""
    profile: Profile | None = None


def _profile(question: Question, environments: _Environments, file: Path) -> _Answer:
    try:
        profile = load_profile(file, question.variables, question.given)
    except OrchError as error:
        return _Answer(Verdict(display(file), each(error)))
    verdict = Verdict(profile.source.file)
    answer = _Answer(verdict, profile.name, profile.source.at("name"))
    try:
        path, environment = environments.get(profile.environment, profile.source.at("environment"))
        answer = replace(answer, environment=path, profile=profile if question.together else None)
        if environment is None:
            return answer
        with coded("indivisible-gpus"):
            spec = resolve(profile, environment, {}).spec
    except OrchError as error:
        return replace(answer, verdict=replace(verdict, errors=each(error)))
    gaps = unheld_models(question.lock, spec, profile.source) if question.lock else ()
    if question.judge is None:
        return replace(answer, verdict=replace(verdict, warnings=gaps))
    found = question.judge(profile, environment)
    return replace(answer, verdict=Verdict(verdict.file, found.errors, (*found.warnings, *gaps), found.notes))


# ---------------------------------------------------------------------------------------------------- several of them


def _shared_out(errors: Sequence[OrchError], verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Each to the file where it stands; what stands in none comes last."""
    theirs: dict[str, list[OrchError]] = {}
    files = {one.file for one in verdicts}
    for error in errors:
        file = place(error.at)[0]
        theirs.setdefault(file if file in files else "", []).append(error)
    rest = tuple(theirs.pop("", ()))
    found = [replace(one, errors=(*one.errors, *mine)) if (mine := theirs.get(one.file)) else one for one in verdicts]
    return [*found, Verdict("", rest)] if rest else found


def _together(profiles: Sequence[Profile], question: Question) -> list[OrchError]:
    """Why they cannot be one set: ports, pinned GPUs, and the memory of the host that an environment declares."""
    names = sorted({one.environment for one in profiles})
    environments = [load_environment(environment_file(one, question.root), question.variables) for one in names]
    known = {one.name: one for one in environments}
    desired = [resolve(one, known[one.environment], {}) for one in profiles]
    crowd = crowded(desired, environments)
    for error in crowd:
        error.code = error.code or "does-not-fit"
    return [*clashes(profiles), *crowd]
