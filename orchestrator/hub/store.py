"""The weights of deployments: looked at on this disk, asked for and fetched by a child process."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cached import Adoption, Found, Removal, User, uses_of
from orchestrator.codec import from_json
from orchestrator.engines.repos import code_repos, is_commit, repos, trusts_code
from orchestrator.errors import FetchFailed, HostError, HubRefused, HubUnreachable, raise_all
from orchestrator.files import read_json
from orchestrator.hub import look
from orchestrator.hub.access import Access, access, login_token
from orchestrator.hub.child.job import Job, Question, Tuning, Want, failure
from orchestrator.hub.layout import Repo, home_folder
from orchestrator.hub.memory import Memory
from orchestrator.hub.talk import Child
from orchestrator.lock_changes import differences
from orchestrator.lockfile import EMPTY, NAME, Lock
from orchestrator.model import (
    Deployment,
    ModelRef,
    Pull,
    RemoteFile,
    RepoUse,
    RuntimeSpec,
    SecretRef,
    Serve,
    Spec,
    Weights,
)
from orchestrator.pins import carried, pinned, unresolved
from orchestrator.ports import FetchEvents
from orchestrator.weights import Choice, choose

if TYPE_CHECKING:
    from orchestrator.fit.description import Description

ASK_TIMEOUT = 120.0  # seconds for a question to the Hub, its retries included

ReadSecret = Callable[[str, SecretRef], str]


@dataclass(frozen=True, slots=True)
class _Answer:
    """Of the Hub, for one repository at one revision: a commit and its files, or why not."""

    commit: str | None = None
    files: tuple[RemoteFile, ...] = ()
    error: FetchFailed | None = None


@dataclass
class HubReader:
    """``variables`` is the caller's environment, ``memory`` orch's own cache of what it knows, ``runtime_env`` tells
    what a runtime adds to its engine's environment, ``lock`` reads the project's orch.lock when it is needed. What the
    Hub answered is kept for the life of this object: a plan that is made twice asks once."""

    variables: Mapping[str, str]
    memory: Memory
    secret: ReadSecret
    runtime_env: Callable[[RuntimeSpec], Mapping[str, str]]
    lock: Callable[[], Lock] = lambda: EMPTY
    _asked: dict[tuple[str, str, str], _Answer] = field(default_factory=dict)
    _children: dict[tuple[tuple[str, str], ...], Child] = field(default_factory=dict)

    # ----------------------------------------------------------------------------------------------------- commits

    def resolve(self, wanted: Deployment, known: Spec | None, *, refresh: bool = False) -> Deployment:
        """With the commit of every repository, as far as it can be learnt: those it has already stay, then from what
        runs, from what orch resolved before, from a complete snapshot, and from the Hub at last. ``refresh`` asks the
        Hub whatever is known, and raises FetchFailed when it cannot be asked."""
        before = carried(wanted.spec, None if refresh else known)
        wanted = pinned(wanted, {**before, **wanted.spec.commits})
        reach = self._access(wanted)
        if not refresh:
            held = {use.slot: commit for use in unresolved(wanted.spec) if (commit := self._held(reach, use))}
            wanted = pinned(wanted, held)
        asking = unresolved(wanted.spec)
        answers = self._ask(wanted, reach, [(use.repo, use.revision) for use in asking], fresh=refresh)
        if refresh:
            raise_all(answer.error for answer in answers if answer.error)
        found = {use.slot: answer.commit for use, answer in zip(asking, answers, strict=True) if answer.commit}
        return pinned(wanted, found)

    def _held(self, reach: Access, use: RepoUse) -> str | None:
        """What orch resolved it to, be it only half fetched; or another tool's ref, if what it names is all there."""
        repo = Repo(reach.cache, use.repo)
        if commit := repo.pinned(use.revision):
            return commit
        commit = repo.ref(use.revision)
        return commit if commit and self._nothing_missing(repo, commit, use) else None

    def _nothing_missing(self, repo: Repo, commit: str, use: RepoUse) -> bool:
        files = self.memory.listing(repo, commit)
        if files is None:
            return look.whole_by_itself(repo, commit, use) is not None
        found = look.weights(use, repo, commit, choose(files, use), self.memory)
        return found.total is not None and not found.missing

    # ------------------------------------------------------------------------------------------------------- state

    def state(
        self, wanted: Deployment, include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> tuple[Weights, ...]:
        """One a repository, in the order of the command line; asks the Hub for a list of files that nobody kept."""
        reach = self._access(wanted)
        uses = [*repos(wanted.spec), *self._code(reach, wanted.spec)]
        return tuple(self._weights(wanted, reach, use, include, exclude) for use in uses)

    def _weights(
        self, wanted: Deployment, reach: Access, use: RepoUse, include: Sequence[str], exclude: Sequence[str]
    ) -> Weights:
        commit = self._commit(reach, wanted.spec, use)
        repo = Repo(reach.cache, use.repo)
        locked = self.lock().commit(use.repo, commit) if commit else None
        files = self.memory.listing(repo, commit) if commit else None
        if files is None and commit and not (include or exclude):
            whole = choose(locked.files, use) if locked else look.whole_by_itself(repo, commit, use)
            found = look.weights(use, repo, commit, whole, self.memory) if whole else None
            if found and not (locked and (found.missing or found.total is None)):
                return found
        if files is None:
            answer = self._ask(wanted, reach, [(use.repo, commit or use.revision)])[0]
            if answer.error or not answer.commit:
                why, do = (answer.error.why, answer.error.do) if answer.error else ("the Hub gave no answer", "")
                refused = isinstance(answer.error, HubRefused)
                return Weights(use, commit, str(reach.cache), why=why, do=do, refused=refused)
            commit, files = answer.commit, answer.files
        assert commit is not None
        if locked and (other := differences(locked, files)):
            why = f"its files at {commit[:8]} are not those of {NAME}: {', '.join(other[:6])}"
            do = "find out who changed them; if they are good, `orch lock --upgrade` takes them"
            return Weights(use, commit, str(reach.cache), why=why, do=do, refused=True)
        return look.weights(use, repo, commit, choose(files, use, include, exclude), self.memory)

    def model_file(self, wanted: Deployment) -> str | None:
        reach = self._access(wanted)
        use = next((one for one in repos(wanted.spec) if one.slot == "model"), None)
        commit = self._commit(reach, wanted.spec, use) if use else None
        if use is None or commit is None:
            return None
        repo = Repo(reach.cache, use.repo)
        choice = choose(self.memory.listing(repo, commit) or repo.held(commit), use)
        names = [file.path for file in choice.files if file.path.endswith(".gguf") and "mmproj" not in file.path]
        return str(repo.pointer(commit, names[0])) if names and choice.weights == "gguf" else None

    def described(self, wanted: Deployment) -> "Description | None":
        from orchestrator.hub.here import described

        use = next((one for one in repos(wanted.spec) if one.slot == "model"), None)
        if use is None:
            return None
        reach = self._access(wanted)
        commit = self._begun(reach, wanted.spec, use)
        return described(Repo(reach.cache, use.repo), commit, use, self.memory) if commit else None

    def _begun(self, reach: Access, spec: Spec, use: RepoUse) -> str | None:
        """The commit of which something is here, be it what another tool left of it: its config.json alone."""
        return self._commit(reach, spec, use) or Repo(reach.cache, use.repo).ref(use.revision)

    def _commit(self, reach: Access, spec: Spec, use: RepoUse) -> str | None:
        known = spec.commits.get(use.slot) or (use.revision if is_commit(use.revision) else None)
        locked = self.lock().model(use.repo, use.revision) if known is None and use.wants == "code" else None
        return known or (locked.commit if locked else self._held(reach, use))

    def _code(self, reach: Access, spec: Spec) -> tuple[RepoUse, ...]:
        """Code that a model's config.json names; known once that file is here."""
        if not trusts_code(spec):
            return ()
        found: list[RepoUse] = []
        for use in repos(spec):
            commit = self._commit(reach, spec, use)
            if use.wants == "weights" and commit:
                config = read_json(Repo(reach.cache, use.repo).pointer(commit, "config.json"))
                found += code_repos(config, str(spec.serve.args.get("code_revision") or "main"))
        if spec.model.path:
            found += code_repos(read_json(Path(spec.model.path) / "config.json"))
        return tuple(dict.fromkeys(found))

    def listing(self, wanted: Deployment, use: RepoUse, *, anew: bool) -> tuple[str, tuple[RemoteFile, ...]]:
        """The commit that ``use`` is at in ``wanted``, or with ``anew`` today, and all its files; asks the Hub for what
        nobody kept. Raises FetchFailed."""
        reach = self._access(wanted)
        commit = use.revision if is_commit(use.revision) else None if anew else self._commit(reach, wanted.spec, use)
        files = self.memory.listing(Repo(reach.cache, use.repo), commit) if commit else None
        if commit and files is not None:
            return commit, files
        answer = self._ask(wanted, reach, [(use.repo, commit or use.revision)], fresh=anew)[0]
        if answer.error or not answer.commit:
            raise answer.error or FetchFailed(f"ask the Hub about {use.repo}", "it gave no answer", "try again")
        return answer.commit, answer.files

    def pulls(self) -> tuple[Pull, ...]:
        return self.memory.pulls()

    # ------------------------------------------------------------------------------------------ all that is on disk

    def cache(self, spec: Spec) -> str:
        return os.path.realpath(access(self.variables, spec, self.runtime_env(spec.runtime)).cache)

    def uses(self, spec: Spec) -> tuple[RepoUse, ...]:
        reach = access(self.variables, spec, self.runtime_env(spec.runtime))
        return (*repos(spec), *self._code(reach, spec))

    def cached(self, specs: Iterable[Spec], users: Sequence[User]) -> Found:
        from orchestrator.hub.models import Place, models

        reached = [access(self.variables, spec, self.runtime_env(spec.runtime)) for spec in specs]
        places = [Place(reach.cache, home_folder(reach.env)) for reach in reached]
        folders = [Path(user.path) for user in users if user.path and not user.project]
        return models(places, folders, lambda cache, repo: uses_of(cache, repo, users), self.memory)

    def removal(self, cache: str, repo: str, commits: Sequence[str]) -> Removal:
        from orchestrator.hub.going import going

        found = going(Repo(Path(cache), repo), commits, self.memory)
        return Removal(repo, cache, tuple(commits), found.whole, found.freed, found.stays)

    # ------------------------------------------------------------------------------------------------- the network

    def _access(self, wanted: Deployment) -> Access:
        return access(self.variables, wanted.spec, self.runtime_env(wanted.spec.runtime))

    def _ask(
        self, wanted: Deployment, reach: Access, names: Sequence[tuple[str, str]], *, fresh: bool = False
    ) -> list[_Answer]:
        """The Hub's answers for (repository, revision), all in one go."""
        keys = [(reach.endpoint, repo, revision) for repo, revision in names]
        new = [name for key, name in zip(keys, names, strict=True) if key not in self._asked]
        if new and (why := not_to_be_asked(reach)):
            do = "" if fresh or not reach.offline else ", or copy a complete cache here"
            cure = "unset it" if reach.offline else "write it as https://HOST"
            return [_Answer(error=HubUnreachable(f"ask the Hub about {repo}", why, cure + do)) for repo, _ in names]
        if new:
            questions = tuple(Question(repo, rev, rev if is_commit(rev) else None) for repo, rev in new)
            try:
                job = self._job(wanted, reach, "list", questions=questions)
                found = self._child(reach).do(job, timeout=ASK_TIMEOUT)
            except FetchFailed as error:  # to know less must not keep anybody from what needs no more
                return [_Answer(error=error) for _ in names]
            for (repo, rev), one in zip(new, found, strict=True):
                answer = _answer(one)
                self._asked[reach.endpoint, repo, rev] = answer
                if answer.commit:
                    self._asked[reach.endpoint, repo, answer.commit] = answer
        return [self._asked[key] for key in keys]

    def _child(self, reach: Access) -> Child:
        """One process for each environment, for the Hub's client reads its own once."""
        key = tuple(sorted(reach.env.items()))
        if key not in self._children:
            self._children[key] = Child(reach.env)
        return self._children[key]

    def _job(self, wanted: Deployment, reach: Access, do: Any, **more: Any) -> Job:
        tuning = Tuning(stall=reach.stall) if reach.stall else Tuning()
        return Job(
            do,
            reach.endpoint,
            os.getpid(),
            self._token(wanted),
            cache=str(reach.cache),
            memory=str(self.memory.folder),
            transfer=wanted.policy.transfer,
            offline=reach.offline,
            tuning=tuning,
            **more,
        )

    def _token(self, wanted: Deployment) -> str | None:
        ref = wanted.secret_refs.get("HF_TOKEN") or wanted.secret_refs.get("HUGGING_FACE_HUB_TOKEN")
        try:
            return self.secret("HF_TOKEN", ref) if ref else login_token(self.variables, wanted.spec.hf_home)
        except HostError as error:
            raise FetchFailed(error.what, error.why, error.do) from error


class HubStore(HubReader):
    def fetch(
        self,
        wanted: Deployment,
        events: FetchEvents,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        *,
        rehash: bool = False,
    ) -> tuple[Weights, ...]:
        """Until every repository is complete. Raises FetchFailed; what came is kept."""
        done: set[tuple[str, str | None, str]] = set()
        while True:
            found = self.state(wanted, include, exclude)
            _refuse(found)
            todo = [one for one in found if _key(one) not in done and (rehash or not one.complete)]
            if not todo:
                return found
            self._fetch(wanted, todo, events, include, exclude, rehash=rehash)
            done |= {_key(one) for one in todo}
            # Once more: what has come may name further repositories (a model's code).

    def adopt(self, wanted: Deployment, folder: Path, events: FetchEvents) -> Adoption:
        """Of the repository that ``wanted`` names."""
        from orchestrator.hub.adoption import settled
        from orchestrator.hub.flat import list_of

        reach, use = self._access(wanted), repos(wanted.spec)[0]
        repo = Repo(reach.cache, use.repo)
        known = settled(wanted, folder, repo, lambda one: self.resolve(one, None))
        if (commit := known.spec.commits.get("model")) and self.memory.listing(repo, commit) is None:
            answer = self._ask(known, reach, [(use.repo, commit)])[0]
            if isinstance(answer.error, HubUnreachable) and (files := list_of(folder, commit)):
                events.say(f"the Hub cannot be asked ({answer.error.why}): the folder's own list of hashes is believed")
                self.memory.keep_listing(repo, commit, files)
        found = self.state(known)
        _refuse(found)
        wants = (self._want(reach, found[0], (), ()),)
        job = self._job(known, reach, "adopt", wants=wants, source=str(folder))
        return from_json(Adoption, self._child(reach).do(job, events))

    def remove(self, cache: str, repo: str, commits: Sequence[str]) -> Removal:
        reach = access(self.variables, Spec(ModelRef(), Serve(), RuntimeSpec("self")), {})
        wants = tuple(Want(repo, one, one, ()) for one in commits or ("",))
        memory = str(self.memory.folder)
        job = Job("remove", reach.endpoint, os.getpid(), cache=cache, memory=memory, wants=wants)
        return from_json(Removal, self._child(reach).do(job))

    def settle(self, wanted: Deployment) -> None:
        """What was verified since this boot survives a power cut from now on."""
        for name in {use.repo for use in repos(wanted.spec)}:
            self.memory.settle(Repo(self._access(wanted).cache, name))

    def _fetch(
        self,
        wanted: Deployment,
        todo: Iterable[Weights],
        events: FetchEvents,
        include: Sequence[str],
        exclude: Sequence[str],
        *,
        rehash: bool = False,
    ) -> None:
        reach = self._access(wanted)
        wants = tuple(self._want(reach, one, include, exclude) for one in todo)
        job = self._job(wanted, reach, "fetch", wants=wants, rehash=rehash)
        self._child(reach).do(job, events)

    def _want(self, reach: Access, one: Weights, include: Sequence[str], exclude: Sequence[str]) -> Want:
        assert one.commit is not None
        repo = Repo(reach.cache, one.use.repo)
        files = self.memory.listing(repo, one.commit)
        if files is None and (answer := self._asked.get((reach.endpoint, one.use.repo, one.commit))):
            files = answer.files
            self.memory.keep_listing(repo, one.commit, files)
        choice = choose(files, one.use, include, exclude) if files is not None else _itself(repo, one)
        return Want(one.use.repo, one.use.revision, one.commit, choice.files)


def _answer(one: Mapping[str, Any]) -> _Answer:
    if "error" in one:
        return _Answer(error=failure(one["error"]))
    return _Answer(one["commit"], tuple(from_json(RemoteFile, file) for file in one["files"]))


def not_to_be_asked(reach: Access) -> str:
    """Why, or nothing."""
    if reach.offline:
        return "it is not known here, and HF_HUB_OFFLINE is set"
    good = reach.endpoint.startswith(("http://", "https://"))
    return "" if good else f"HF_ENDPOINT is {reach.endpoint}, which is no URL"


def _itself(repo: Repo, one: Weights) -> Choice:
    return (look.whole_by_itself(repo, one.commit, one.use) if one.commit else None) or Choice()


def _refuse(found: Iterable[Weights]) -> None:
    for one in found:
        if one.total is None:
            raise FetchFailed(f"fetch {one.use.repo}", one.why, one.do)


def _key(one: Weights) -> tuple[str, str | None, str]:
    return one.use.repo, one.commit, one.use.wants
