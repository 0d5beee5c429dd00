"""How much of a repository is in a cache: one look at the disk, without the network and without huggingface_hub."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.hub.flat import lacking
from orchestrator.hub.layout import Repo
from orchestrator.hub.memory import Memory, Stamp, stamp
from orchestrator.hub.parts import fetched
from orchestrator.model import RemoteFile, RepoUse, Weights
from orchestrator.weights import Choice, choose


@dataclass(frozen=True, slots=True)
class FileState:
    """``linked``: the snapshot has it whole; ``whole``: its content is there in full, linked or not; ``here`` bytes
    of it are on this disk; ``verified``: it is whole and its hash was right in just this state, or nobody knows which
    hash it should have."""

    file: RemoteFile
    linked: bool
    whole: bool
    verified: bool
    here: int


def states(repo: Repo, commit: str, files: Sequence[RemoteFile], verified: Mapping[str, Stamp]) -> list[FileState]:
    return [_state(repo, commit, file, verified) for file in files]


def _state(repo: Repo, commit: str, file: RemoteFile, verified: Mapping[str, Stamp]) -> FileState:
    pointer = stamp(repo.pointer(commit, file.path))
    linked = pointer is not None and pointer.size == file.size
    found = pointer if linked else stamp(repo.blob(file.blob)) if file.blob else None
    whole = found is not None and found.size == file.size
    right = whole and (not file.blob or verified.get(file.blob) == found)
    return FileState(file, linked, whole, right, file.size if whole else fetched(repo.blob(file.blob), file.size))


def weights(use: RepoUse, repo: Repo, commit: str, choice: Choice, memory: Memory) -> Weights:
    """The state of what ``choice`` wants of one commit."""
    known = Weights(use, commit, str(repo.cache), left_out=choice.left_out, kind=choice.weights)
    if choice.why:
        return replace(known, why=choice.why, do=choice.do)
    found = states(repo, commit, choice.files, memory.verified(repo))
    return replace(
        known,
        total=choice.total,
        files=len(found),
        here=sum(one.here for one in found),
        unverified=sum(one.file.size for one in found if one.whole and not one.verified),
        missing=sum(not one.linked for one in found),
    )


def whole_by_itself(repo: Repo, commit: str, use: RepoUse) -> Choice | None:
    """For a cache that came without a list (an air-gapped host, an old client): the snapshot itself, when its own
    index says that nothing is lacking. None when it cannot tell."""
    held = repo.held(commit)
    if not any(file.path in ("config.json", "params.json", "adapter_config.json") for file in held):
        return None
    choice = choose(held, use)
    missing, _ = lacking(repo.snapshot(commit), {file.path: file.size for file in held})
    return None if choice.why or (use.wants == "weights" and missing) else choice
