"""libcuda for the engines of an environment: tested as they would find it, and mended at user level."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator import environ
from orchestrator.cuda import libcuda, links, trials
from orchestrator.cuda.libcuda import GIVEN, Candidate
from orchestrator.cuda.memory import Findings, Memory
from orchestrator.cuda.places import Places
from orchestrator.cuda.trials import Trial
from orchestrator.errors import HostError
from orchestrator.model import Deployment, Laid, Mend, RuntimeInfo


class CudaReader:
    """``variables`` is the caller's environment, ``cache_dir`` keeps what tests told and may be deleted. ``places`` is
    where a driver is looked for."""

    def __init__(self, variables: Mapping[str, str], cache_dir: Path, places: Places | None = None) -> None:
        self.variables, self.cache_dir = variables, cache_dir
        self.home = variables.get("HOME") or str(Path.home())
        self._told: dict[str, Findings] = {}
        self.places = places or Places()

    def mend(self, wanted: Deployment, info: RuntimeInfo) -> Mend | None:
        """None, too, for what no link could mend: no compiler, no driver. Raises HostError when a test fails and the
        library that the environment names is none."""
        if info.device != "cuda" or wanted.policy.libcuda == "off":
            return None
        now = self.laid(wanted.environment)
        found = self.findings(wanted, info)
        why = _reasons(found, now, wanted.policy.libcuda)
        if not why:
            return None
        if not found.driver:
            _refuse_given(wanted, found)
            return None
        load = any(trial.name == "load" for trial in found.failed) or bool(now and now.load)
        laid = Laid(str(self.folder(wanted.environment)), found.driver, load)
        before, after = self.environment(wanted, info, now), self.environment(wanted, info, laid)
        differ = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        return Mend(
            wanted.environment,
            laid,
            {name: before[name] for name in differ if name in before},
            {name: after[name] for name in differ if name in after},
            why,
        )

    def is_missing(self, wanted: Deployment, info: RuntimeInfo) -> bool:
        if info.device != "cuda" or wanted.policy.libcuda == "off":
            return False
        found = self.findings(wanted, info)
        return found.loaded.trial.failed and not found.driver

    def in_force(self, wanted: Deployment) -> Laid | None:
        return None if wanted.policy.libcuda == "off" else self.laid(wanted.environment)

    def laid(self, environment: str) -> Laid | None:
        return links.read(self.folder(environment))

    def findings(self, wanted: Deployment, info: RuntimeInfo) -> Findings:
        """What the tests say of this runtime in the environment that its engine would get now, or said when something
        was last carried out here."""
        laid = self.laid(wanted.environment)
        env = self.environment(wanted, info, laid)
        places = self.places_of(wanted, info)
        memory = Memory(self.cache_dir / "cuda", wanted.environment, info, env, places, laid)
        if kept := self._told.get(memory.key) or memory.read():
            return kept
        found = _tested(info, env, places, always=bool(_stale(laid, wanted.policy.libcuda)))
        if all(trial.settled for trial in found.trials):
            self._told[memory.key] = found
            self.remember(memory, found)
        return found

    def remember(self, memory: Memory, found: Findings) -> None:
        """A reader writes nothing: for another plan it tests anew."""

    def environment(self, wanted: Deployment, info: RuntimeInfo, laid: Laid | None) -> dict[str, str]:
        """Of the engine, but for which GPUs it sees."""
        return environ.unmarked(self.variables, info, wanted.spec, None, laid)

    def folder(self, environment: str) -> Path:
        return links.top(self.home) / environment

    def places_of(self, wanted: Deployment, info: RuntimeInfo) -> Places:
        """``LD_LIBRARY_PATH`` as the files have it, stubs folders and all: what is found there is told."""
        path = {**info.env, **wanted.spec.env}.get("LD_LIBRARY_PATH", "")
        given = wanted.policy.libcuda if wanted.policy.libcuda.startswith("/") else ""
        variables = {**self.environment(wanted, info, None), "LD_LIBRARY_PATH": path}
        return replace(self.places, variables=variables, given=given, not_in=str(links.top(self.home)))


class CudaMender(CudaReader):
    def remember(self, memory: Memory, found: Findings) -> None:
        memory.write(found)

    def repair(self, wanted: Deployment, info: RuntimeInfo) -> None:
        if self.mend(wanted, info) is None:
            return
        with links.locked(self.home):
            mend = self.mend(wanted, info)  # another process may have been faster
            if mend is None:
                return
            faults = {trial.name for trial in self.findings(wanted, info).failed}
            was = links.lay(mend.laid)
            try:
                now = self.findings(wanted, info)
                # One that could not be tried this time was not mended, for all that is known.
                if still := [trial for trial in now.trials if trial.failed or (trial.name in faults and not trial.ok)]:
                    raise _helpless(mend, still)
            except BaseException:
                links.put_back(Path(mend.laid.folder), was)
                raise

    def unmend(self, environment: str) -> bool:
        """Takes away what was laid; False when there was nothing. Raises HostError."""
        folder = self.folder(environment)
        if not folder.is_dir():
            return False
        with links.locked(self.home):
            return links.take_away(folder)


def _tested(info: RuntimeInfo, env: Mapping[str, str], places: Places, *, always: bool) -> Findings:
    """``always``: look for the driver's library even if no trial fails."""
    listed = libcuda.listing(places)
    loaded = trials.load(info.python, env)
    linked = trials.links(env, loaded.triton, listed, places.ldconfigs[0])
    seen = libcuda.candidates(places, listed)
    # One that loads and finds no GPU may hide one that does: a compatibility library, a driver inside WSL2.
    doubtful = loaded.trial.ok and loaded.init != 0
    if not always and not doubtful and not any(trial.failed for trial in (loaded.trial, *linked)):
        return Findings(loaded, linked, seen)
    judged, driver = _judged(info, env, seen)
    if doubtful and driver and driver.init == 0:
        why = f"{loaded.path} finds no GPU (its cuInit answers {loaded.init}), and {driver.path} does"
        loaded = replace(loaded, trial=replace(loaded.trial, ok=False, why=why))
    return Findings(loaded, linked, judged, driver.path if driver else "")


def _judged(
    info: RuntimeInfo, env: Mapping[str, str], seen: Sequence[Candidate]
) -> tuple[tuple[Candidate, ...], Candidate | None]:
    """Loads one after the other until one finds a GPU. That one, or else the first that loads."""
    judged: list[Candidate] = []
    for one in seen:
        judged.append(trials.judged(info.python, env, one))
        if judged[-1].init == 0 or one.found == GIVEN:
            break  # what the environment file names is that one or none
    good = [one for one in judged if one.good]
    driver = next((one for one in good if one.init == 0), good[0] if good else None)
    return (*judged, *seen[len(judged) :]), driver


def _reasons(found: Findings, laid: Laid | None, given: str) -> tuple[str, ...]:
    """Why links are to be laid, or laid anew."""
    return (*(f"cannot {trial}" for trial in found.failed), *_stale(laid, given))


def _stale(laid: Laid | None, given: str) -> tuple[str, ...]:
    """Why links that were laid are no good, be it that the tests pass."""
    if laid is None:
        return ()
    if given.startswith("/") and laid.target != given:
        return (*links.broken(laid), f"{laid.folder} links to {laid.target}, and the environment names {given}")
    return links.broken(laid)


def _refuse_given(wanted: Deployment, found: Findings) -> None:
    given = wanted.policy.libcuda
    if given.startswith("/"):
        why = next((one.why for one in found.candidates if one.path == given), "it was not found")
        do = f"correct `cuda.libcuda` of the environment {wanted.environment}, or remove it"
        raise HostError(f"use {given} as libcuda", why, do)


def _helpless(mend: Mend, still: Sequence[Trial]) -> HostError:
    why = f"with links to {mend.laid.target} it still cannot {'; '.join(str(trial) for trial in still)}"
    return HostError(f"mend libcuda of {mend.environment}", why, "the links were taken away; see `orch doctor`")
