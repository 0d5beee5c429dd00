"""What is known of models on the Hub without a download: by the files that are here, else by asking."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.codec import from_json
from orchestrator.describe import describe
from orchestrator.engines.repos import is_commit, repos
from orchestrator.errors import FetchFailed, HubRefused, HubUnreachable
from orchestrator.findings import did_you_mean
from orchestrator.fit.description import Description, unpack
from orchestrator.fit.quantization import quantization
from orchestrator.fit.relatives import Listed, Relative, base_of, choose_relatives, expected, kind_of, usual_quant
from orchestrator.hub import look
from orchestrator.hub.access import Access
from orchestrator.hub.child.job import Question, failure
from orchestrator.hub.layout import OWN_REFS, Repo
from orchestrator.hub.store import ASK_TIMEOUT, HubReader, not_to_be_asked
from orchestrator.model import Deployment, ModelRef, RemoteFile, RepoUse, Spec
from orchestrator.pieces import pieces
from orchestrator.weights import choose

Form = tuple[Relative, Description | None]
Told = tuple[Description, tuple[RemoteFile, ...]]
"""A description, and all the files that the repository has."""


@dataclass
class HubDescriber(HubReader):
    """Downloads nothing and writes nothing. What the Hub told is kept for the life of this object."""

    _told: dict[tuple[str, Question], Told] = field(default_factory=dict)

    def describe(self, wanted: Deployment) -> Description:
        """Of the model that ``wanted`` names on the Hub, at the commit it has there or here. Raises FetchFailed when
        nothing is known of it; HubRefused is told in the description when the Hub lists the files all the same."""
        found = self._described([wanted])[0]
        if isinstance(found, FetchFailed):
            raise found
        return found[0]

    def variants(self, wanted: Deployment, named: Sequence[str] = ()) -> tuple[Form, ...]:
        """The forms of the model that ``wanted`` names, and those that are ``named`` (OWNER/NAME, OWNER/NAME:QUANT):
        the base first. Where the Hub cannot be asked, those that are here under their owner's names. Of a repository
        with several GGUF models the usual one."""
        reach = self._access(wanted)
        model = _use(wanted)
        base, listed = self._relatives(wanted, reach, model)
        here = [Listed(name) for name in expected(base) if Repo(reach.cache, name).commits()]
        chosen = choose_relatives(base, (*listed, *here), [*dict.fromkeys((model.repo, *named))])
        told = self._described([_at(wanted, one.repo) for one in chosen])
        names = [_one_model(one.repo, model, found) for one, found in zip(chosen, told, strict=True)]
        again = [index for index, (one, name) in enumerate(zip(chosen, names, strict=True)) if name != one.repo]
        for index, found in zip(again, self._described([_at(wanted, names[index]) for index in again]), strict=True):
            told[index] = found
        return tuple(self._filled(reach, *one) for one in zip(chosen, names, told, strict=True))

    # ---------------------------------------------------------------------------------------------------- one by one

    def _described(self, wanted: Sequence[Deployment]) -> list[Told | FetchFailed]:
        """What is here as it is; the rest is asked for in one go. All with one environment."""
        if not wanted:
            return []
        reach, uses = self._access(wanted[0]), [_use(one) for one in wanted]
        commits = [self._commit(reach, one.spec, use) for one, use in zip(wanted, uses, strict=True)]
        found: list[Told | FetchFailed | None] = [
            self._whole_here(reach, use, commit) for use, commit in zip(uses, commits, strict=True)
        ]
        asking = [index for index, one in enumerate(found) if one is None]
        for index, answer in zip(asking, self._ask_all(wanted[0], reach, uses, commits, asking), strict=True):
            here = self._all_there_is(reach, wanted[index].spec, uses[index], answer)
            found[index] = here or answer
        return [_with_quant(use, one) for use, one in zip(uses, found, strict=True) if one is not None]

    def _ask_all(
        self,
        wanted: Deployment,
        reach: Access,
        uses: Sequence[RepoUse],
        commits: Sequence[str | None],
        asking: Iterable[int],
    ) -> list[Told | FetchFailed]:
        questions = [_question(uses[index], commits[index]) for index in asking]
        new = tuple(dict.fromkeys(one for one in questions if (reach.endpoint, one) not in self._told))
        failed: dict[Question, FetchFailed] = {}
        try:
            for question, told in zip(new, self._put(wanted, reach, "describe", new), strict=True):
                answer = _answer(told)
                if isinstance(answer, FetchFailed):
                    failed[question] = answer
                else:
                    self._told[reach.endpoint, question] = answer
        except FetchFailed as error:
            failed = dict.fromkeys(new, error)
        return [failed.get(one) or self._told[reach.endpoint, one] for one in questions]

    def _put(self, wanted: Deployment, reach: Access, do: str, questions: tuple[Question, ...]) -> list[Any]:
        if not questions:
            return []
        if why := not_to_be_asked(reach):
            raise _not_asked(reach, questions[0], why)
        job = self._job(wanted, reach, do, questions=questions)
        answers: list[Any] = self._child(reach).do(job, timeout=ASK_TIMEOUT)
        return answers

    def _whole_here(self, reach: Access, use: RepoUse, commit: str | None) -> Told | None:
        """Of a commit that is here with all that an engine loads of it."""
        repo = Repo(reach.cache, use.repo)
        if commit is None or not self._nothing_missing(repo, commit, use):
            return None
        files = self.memory.listing(repo, commit) or repo.held(commit)
        return _from_disk(repo, commit, use, files), files

    def _all_there_is(self, reach: Access, spec: Spec, use: RepoUse, answer: Told | FetchFailed) -> Told | None:
        """What is here, be it little, where the Hub gives no more."""
        trouble = answer if isinstance(answer, FetchFailed) else answer[0].error
        held = self._partly(reach, use, self._begun(reach, spec, use)) if trouble else None
        if trouble is None or held is None or (use.variant and not held[0].kind):
            return None
        lacks = f"not all of it is here, and the Hub cannot be asked: {trouble.why}"
        return replace(held[0], notes=(*held[0].notes, lacks)), held[1]

    def _partly(self, reach: Access, use: RepoUse, commit: str | None) -> Told | None:
        if commit is None:
            return None
        repo = Repo(reach.cache, use.repo)
        files = tuple(file for file in repo.held(commit) if repo.pointer(commit, file.path).exists())
        return (_from_disk(repo, commit, use, files, partial=True), files) if files else None

    # ------------------------------------------------------------------------------------------------------ variants

    def _relatives(self, wanted: Deployment, reach: Access, use: RepoUse) -> tuple[str, tuple[Listed, ...]]:
        try:
            told = self._put(wanted, reach, "variants", (_question(use, self._commit(reach, wanted.spec, use)),))[0]
            if "error" in told:
                raise failure(told["error"])
        except FetchFailed as error:
            if isinstance(error, HubRefused):
                raise
            return base_of(use.repo, ()), ()
        return told["base"], tuple(Listed(one["repo"], tuple(one["tags"]), one["downloads"]) for one in told["listed"])

    def _filled(self, reach: Access, one: Relative, name: str, told: Told | FetchFailed) -> Form:
        one = replace(one, repo=name)
        if isinstance(told, FetchFailed):
            return replace(one, why=str(told)), None
        found, files = told
        kind, bits, how = one.kind, one.bits, one.how
        if found.config and found.kind != "gguf":
            scheme = quantization(found.config)
            kind, bits, how = kind_of(name, found.tags, scheme) if scheme else ("base", 0, "declared")
        share = self._share(reach, _use_of(name), found, files)
        why = str(found.error) if found.error else ""
        filled = replace(one, kind=kind, bits=bits, how=how, disk=found.disk, cached=share, gated=found.gated, why=why)
        return filled, found

    def _share(self, reach: Access, use: RepoUse, found: Description, files: Sequence[RemoteFile]) -> float | None:
        weights = look.weights(use, Repo(reach.cache, use.repo), found.commit, choose(files, use), self.memory)
        return weights.here / weights.total if weights.total else None


def _use(wanted: Deployment) -> RepoUse:
    use = next((one for one in repos(wanted.spec) if one.slot == "model"), None)
    if use is None:
        raise FetchFailed("ask the Hub about a model", "it is served from a folder", "name a repository: OWNER/NAME")
    return use


def _one_model(name: str, model: RepoUse, told: Told | FetchFailed) -> str:
    """With a quantization, where a repository has several GGUF models: ``model`` says its own."""
    if name == model.repo and model.variant:
        return f"{name}:{model.variant}"
    if isinstance(told, FetchFailed) or told[0].kind or ":" in name:
        return name
    quant = usual_quant(file.path for file in told[1])
    return f"{name}:{quant}" if quant else name


def _use_of(name: str) -> RepoUse:
    repo, _, variant = name.partition(":")
    return RepoUse("model", repo, variant=variant)


def _at(wanted: Deployment, name: str) -> Deployment:
    """The same environment with another model."""
    use = _use(wanted)
    if name in (use.repo, f"{use.repo}:{use.variant}"):
        return wanted
    return replace(wanted, spec=replace(wanted.spec, model=ModelRef(repo=name), commits={}))


def _with_quant(use: RepoUse, told: Told | FetchFailed) -> Told | FetchFailed:
    """What else a repository holds is no answer about a GGUF model that it has not got."""
    if isinstance(told, FetchFailed) or not use.variant or not (choice := choose(told[1], use)).why:
        return told
    ends = (re.sub(r"(-\d{5}-of-\d{5})?\.gguf$", "", one.path) for one in told[1] if one.path.endswith(".gguf"))
    guess = did_you_mean(use.variant.upper(), {re.split(r"[-./]", end)[-1].upper() for end in ends})
    return HubRefused(f"find {use.variant} in {use.repo}", choice.why, f"{guess} {choice.do}".strip())


def _question(use: RepoUse, commit: str | None) -> Question:
    commit = commit or (use.revision if is_commit(use.revision) else None)
    return Question(use.repo, use.revision, commit, use.load_format, use.variant)


def _not_asked(reach: Access, one: Question, why: str) -> HubUnreachable:
    named = f"@{one.revision}" if one.revision != "main" else ""
    refs = {name.removeprefix(f"{OWN_REFS}/") for name in Repo(reach.cache, one.repo).refs()}
    here = ", ".join(sorted(name for name in refs if not is_commit(name)))
    cure = "unset it, or copy a complete cache here" if reach.offline else "write it as https://HOST"
    return HubUnreachable(f"ask the Hub about {one.repo}{named}", why, f"{cure}; here is {here}" if here else cure)


def _answer(told: Mapping[str, Any]) -> Told | FetchFailed:
    if "description" not in told:
        return failure(told["error"])
    found = unpack(told["description"])
    if "error" in told:
        found = replace(found, error=failure(told["error"]))
    return found, tuple(from_json(RemoteFile, one) for one in told["files"])


def _from_disk(
    repo: Repo, commit: str, use: RepoUse, files: Sequence[RemoteFile], *, partial: bool = False
) -> Description:
    piece = pieces(repo.snapshot(commit))
    found = describe(f"{repo.name}@{commit[:8]}", files, use, piece, partial=partial)
    return replace(found, commit=commit, here=True)
