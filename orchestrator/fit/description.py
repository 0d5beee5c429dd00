"""What is found of a model without loading it, as a value, and as JSON on its way between processes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.errors import OrchError
from orchestrator.fit.model import Header, Tensor
from orchestrator.model import Json


@dataclass(frozen=True, slots=True)
class Description:
    """``place`` is REPO@COMMIT, a folder or a file. ``kind`` of weights: safetensors, gguf, bin, pt, or nothing;
    ``files`` of them have ``disk`` bytes. ``headers``, a weight file each, of those that could be read. ``texts`` are
    the JSON files that are there and can be read, by name. ``declared`` bytes of tensors is what the index says, 0
    when it says nothing. ``read`` counts the bytes that were looked at.

    ``notes`` say what could not be found or does not add up. ``error`` is why nothing but the list of files could be
    had. ``tags`` and ``base_models`` are the Hub's; ``here``: the files are on this disk."""

    place: str
    commit: str = ""
    kind: str = ""
    files: int = 0
    disk: int = 0
    headers: tuple[Header, ...] = ()
    texts: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    declared: int = 0
    read: int = 0
    notes: tuple[str, ...] = ()
    error: OrchError | None = None
    tags: tuple[str, ...] = ()
    base_models: tuple[str, ...] = ()
    gated: bool = False
    here: bool = False

    @property
    def config(self) -> Mapping[str, Json] | None:
        return self.texts.get("config.json")

    @property
    def complete(self) -> bool:
        """Whether every weight file told its tensors."""
        return 0 < self.files == len(self.headers)

    @property
    def bytes(self) -> int:
        """Of all tensors that are told of."""
        return sum(tensor.bytes for header in self.headers for tensor in header.tensors)


def pack(found: Description) -> Json:
    """As JSON: the tensors of a header by type and shape, for large models have 90,000."""
    headers = [
        {"file": one.file, "metadata": dict(one.metadata), "tensors": [_packed(tensor) for tensor in one.tensors]}
        for one in found.headers
    ]
    plainly = ("place", "commit", "kind", "files", "disk", "declared", "read", "gated", "here")
    lists = {name: list(getattr(found, name)) for name in ("notes", "tags", "base_models")}
    return {name: getattr(found, name) for name in plainly} | lists | {"headers": headers, "texts": dict(found.texts)}


def _packed(tensor: Tensor) -> list[Json]:
    return [tensor.name, tensor.dtype, list(tensor.shape), tensor.bytes]


def unpack(data: Mapping[str, Json]) -> Description:
    """The inverse of ``pack``, but for ``error``, which travels by itself."""
    headers = tuple(
        Header(
            tuple(Tensor(name, dtype, tuple(shape), size) for name, dtype, shape, size in one["tensors"]),
            one["metadata"],
            one["file"],
        )
        for one in data["headers"]
    )
    lists = {name: tuple(data[name]) for name in ("notes", "tags", "base_models")}
    return Description(**{**data, **lists, "headers": headers})
