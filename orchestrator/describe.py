"""What a model's files tell of it without being loaded: its configuration, and the header of each weight file. Reads
nothing by itself: whoever calls says which files there are and reads pieces of them, from a disk or from the Hub.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from orchestrator.errors import FetchFailed, HostError, HubRefused, HubUnreachable, OrchError
from orchestrator.fit.description import Description
from orchestrator.fit.header import BadHeader, Read, plain
from orchestrator.fit.known import model_of
from orchestrator.fit.read_header import can_read, read_header
from orchestrator.model import Json, RemoteFile, RepoUse
from orchestrator.weights import choose

TEXTS = (
    "config.json",
    "generation_config.json",
    "hf_quant_config.json",  # NVIDIA's ModelOpt
    "quantize_config.json",  # GPTQ before config.json had it
    "quant_config.json",  # AWQ likewise
    "params.json",  # Mistral's own form
)
LONGEST = 2 << 20
"""Bytes of a text that are read. The index of a model with thousands of experts has more, and of it only the sum at its
beginning is wanted."""
SUM_WITHIN = 4096
"""Bytes of such an index."""
NOTES = 12
MANY = 32
"""Weight files: their headers take a fraction of a second to read."""
INDEX = ".safetensors.index.json"
WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt", ".tensors")

PieceOf = Callable[[RemoteFile, int, int], bytes]
"""A file's bytes from the first to before the second. May raise HostError or FetchFailed."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Each = Callable[[Callable[[Item], Answer], Sequence[Item]], Iterable[Answer]]
"""``map``, or one that does several at once."""


def describe(
    place: str, files: Sequence[RemoteFile], use: RepoUse, piece: PieceOf, each: Any = map, *, partial: bool = False
) -> Description:
    """The files that an engine would load for ``use``. ``each`` is an Each; ``partial``: there may be more than
    ``files``, so that weights are missing is not said. Raises FetchFailed when nothing can be read any more; that the
    Hub refuses is told in ``error``, and what it then lists all the same."""
    choice = choose(files, use)
    weights = [one for one in choice.files if one.path.endswith(WEIGHTS)]
    counted = _Counted(piece)
    found = Description(place, kind=choice.weights, files=len(weights), disk=sum(one.size for one in weights))
    if choice.why and not (partial and not any(one.path.endswith(WEIGHTS) for one in files)):
        found = replace(found, kind="", notes=(f"{choice.why}; {choice.do}",))
    try:
        texts, index, notes = _texts(files, counted)
        found = replace(found, texts=texts, notes=(*found.notes, *notes))
        found = _headers(replace(found, declared=index.total), index.loaded(weights), counted, each)
        gone = index.lacks(weights)
        found = replace(found, files=found.files + len(gone), notes=(*found.notes, *(() if partial else _gone(gone))))
    except HubRefused as error:
        found = replace(found, error=error)
    return replace(found, notes=_few(found.notes), read=sum(counted.came))


def in_brief(read: Callable[[Any], Description]) -> Description:
    """For whoever is in a hurry: ``read`` describes with the Each that it is given. Of a model in many files no header
    is read where its config and its index come to the same sum, for then the headers tell no more."""
    found = read(lambda *_: ())
    if found.files >= MANY and found.config and found.declared:
        _, weights = model_of(found)
        if weights.bytes == found.declared and not weights.unsure:
            return found
    return read(map)


def _few(notes: Sequence[str]) -> tuple[str, ...]:
    """What is wrong with one of a hundred files is mostly wrong with all."""
    return (
        tuple(notes) if len(notes) <= NOTES else (*notes[: NOTES - 1], f"and {len(notes) - NOTES + 1} more like these")
    )


@dataclass(slots=True)
class _Counted:
    """``came``: how many bytes each time; several threads may ask at once."""

    piece: PieceOf
    came: list[int] = field(default_factory=list)

    def __call__(self, file: RemoteFile, start: int, end: int) -> bytes:
        data = self.piece(file, start, end)
        self.came.append(len(data))
        return data


# -------------------------------------------------------------------------------------------------------------- texts


@dataclass(frozen=True, slots=True)
class _Index:
    """``shards`` by path; none when there is no index, or too long a one."""

    total: int = 0
    shards: frozenset[str] = frozenset()

    def loaded(self, weights: Sequence[RemoteFile]) -> Sequence[RemoteFile]:
        """As the engine has it: a file that the index does not name is somebody else's copy."""
        named = [one for one in weights if one.path in self.shards]
        return named or weights

    def lacks(self, weights: Sequence[RemoteFile]) -> list[str]:
        return sorted(self.shards - {one.path for one in weights})


def _gone(shards: Sequence[str]) -> list[str]:
    if not shards:
        return []
    more = f" and {len(shards) - 1} more, which are" if shards[1:] else ", which is"
    return [f"the index names {plain(shards[0])}{more} not there: the engine will refuse it"]


def _texts(files: Sequence[RemoteFile], piece: PieceOf) -> tuple[dict[str, Mapping[str, Json]], _Index, list[str]]:
    found: dict[str, Mapping[str, Json]] = {}
    notes, index = [], _Index()
    for file in files:
        if file.path not in TEXTS and not ("/" not in file.path and file.path.endswith(INDEX)):
            continue
        try:
            data = piece(file, 0, file.size if file.size <= LONGEST else SUM_WITHIN)
        except (HostError, FetchFailed) as error:
            notes.append(_told(error))
            continue
        if file.path not in TEXTS:
            index = _index(data)
        elif (value := _object(data)) is not None:
            found[file.path] = value
        else:
            notes.append(f"{file.path} is {'no JSON object: it is damaged' if data.strip() else 'empty'}")
    if "config.json" not in found and not any(file.path.endswith(".gguf") for file in files):
        notes.append("there is no config.json that could be read: the model's shape is not known")
    return found, index, notes


def _told(error: OrchError) -> str:
    """Of one file; what keeps all of them from being read is raised."""
    if isinstance(error, HubRefused | HubUnreachable):
        raise error
    return str(error)


def _object(data: bytes) -> dict[str, Json] | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _index(data: bytes) -> _Index:
    """Of one that is too long to be read whole, the sum that stands at its beginning."""
    value = _object(data)
    if value is None:
        told = re.search(rb'"total_size"\s*:\s*(\d{1,18})\b', data[:SUM_WITHIN])
        return _Index(int(told[1]) if told else 0)
    metadata, shards = value.get("metadata"), value.get("weight_map")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    names = frozenset(str(one) for one in shards.values()) if isinstance(shards, dict) else frozenset()
    return _Index(int(total) if isinstance(total, int | float) and 0 < total < 1 << 60 else 0, names)


# ------------------------------------------------------------------------------------------------------------ headers


def _headers(found: Description, weights: Sequence[RemoteFile], piece: PieceOf, each: Any) -> Description:
    found = replace(found, files=len(weights), disk=sum(one.size for one in weights))
    readable = [one for one in weights if can_read(one.path)]
    notes = list(found.notes)
    if blind := [one for one in weights if not can_read(one.path)]:
        more, it = (f" and {len(blind) - 1} more tell their", "them") if blind[1:] else (" tells its", "it")
        whose = "their sizes are" if blind[1:] else "its size is"
        notes.append(f"{plain(blind[0].path)}{more} tensors only to who runs {it}: only {whose} known")

    def read(file: RemoteFile) -> Read | str:
        try:
            return read_header(file.path, file.size, lambda start, end: piece(file, start, end))
        except (BadHeader, HostError, FetchFailed) as error:
            return _told(error)

    headers = []
    for one in each(read, readable):
        if isinstance(one, str):
            notes.append(one)
        else:
            headers.append(one.header)
            notes += one.notes
    found = replace(found, headers=tuple(headers), notes=tuple(notes))
    return replace(found, notes=(*found.notes, *_sums(found), *_split(found)))


def _sums(found: Description) -> list[str]:
    """What the index says is a cross-check, no more: some were written before a tensor was tied, or changed."""
    if not found.complete or found.declared in (0, found.bytes):
        return []
    return [f"the headers tell of {found.bytes:,} bytes of tensors, and the index of {found.declared:,}"]


def _split(found: Description) -> list[str]:
    """GGUF's own counts of a model in several files."""
    if found.kind != "gguf":
        return []
    counts = {one.metadata.get("split.count", "") for one in found.headers} - {""}
    tensors = {one.metadata.get("split.tensors.count", "") for one in found.headers} - {""}
    parts = sum("split.count" in one.metadata for one in found.headers)
    notes = [f"it is in {count} parts, and {parts} are here" for count in sorted(counts - {str(parts)})]
    have = sum(len(one.tensors) for one in found.headers if "split.count" in one.metadata)
    if not notes and len(tensors) == 1 and tensors != {str(have)}:
        notes.append(f"its parts have {have} tensors, and {next(iter(tensors))} are told of")
    return notes
