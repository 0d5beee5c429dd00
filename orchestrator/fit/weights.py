"""A model's weights, by where they lie and how they are divided: from the headers of its files, or from its config.
Pure.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from orchestrator.fit.families import FAMILIES
from orchestrator.fit.fields import number
from orchestrator.fit.model import Architecture, Header, Part, Place, Split, Tensor, Weights
from orchestrator.fit.names import Role, role, weights_in
from orchestrator.fit.quantization import converts, matrix_bytes
from orchestrator.fit.shapes import Matrix, matrices

DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32", "float64": "F64", "half": "F16", "float": "F32"}
WIDTHS = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}

_EXPERT = re.compile(r"\.experts\.\d+\.")

_Kind = tuple[str, str, tuple[int, ...], int]
_Key = tuple[Place, Split, str, int | None, bool]


class _Sum:
    def __init__(self) -> None:
        self._held: dict[_Key, list[int]] = defaultdict(lambda: [0, 0])

    def add(self, key: _Key, parameters: int, size: int) -> None:
        held = self._held[key]
        held[0] += parameters
        held[1] += size

    def parts(self) -> tuple[Part, ...]:
        ordered = sorted(self._held.items(), key=lambda item: (item[0][3] is None, item[0][3] or 0, item[0]))
        return tuple(
            Part(place, split, dtype, parameters, size, layer)
            for (place, split, dtype, layer, _), (parameters, size) in ordered
        )


def measured(headers: Iterable[Header], found: Architecture) -> Weights:
    """From what the files say. A tensor whose name tells nothing is counted on every card, and named as unsure."""
    total, files, strange = _Sum(), [], set[str]()
    bits = found.quantization.bits if found.quantization else 0.0
    alike = Counter[_Kind]()  # what holds for one expert holds for all: large models have 90,000 tensors
    for header in headers:
        files.append(header.file)
        alike.update((_one_expert(one.name), one.dtype, one.shape, one.bytes) for one in header.tensors)
    for kind, count in alike.items():
        tensor = Tensor(*kind)
        where = role(tensor, found)
        if not where.known:
            strange.add(_pattern(tensor))
        _share(total, tensor, count, where, weights_in(tensor, bits))
    source = f"header of {files[0]}" if len(files) == 1 else f"headers of {len(files)} files"
    unsure = (f"how {_few(strange)} are divided: counted whole on every card",) if strange else ()
    return Weights(total.parts(), "measured", source, unsure)


def _one_expert(name: str) -> str:
    """The same of the first one."""
    return _EXPERT.sub(".experts.0.", name) if ".experts." in name else name


def _share(total: _Sum, tensor: Tensor, count: int, where: Role, held: int) -> None:
    """Gives each split its part; the last takes what rounding left, so that nothing is lost."""
    left, size = held, tensor.bytes
    for index, (split, share) in enumerate(where.shares):
        last = index == len(where.shares) - 1
        mine, bytes_ = (left, size) if last else (round(held * share), round(tensor.bytes * share))
        total.add((where.place, split, tensor.dtype, where.layer, held == 0), mine * count, bytes_ * count)
        left, size = left - mine, size - bytes_


def computed(found: Architecture) -> Weights:
    """From the config alone. Exact for the families that `families` knows; a guess, which it says, for others."""
    total = _Sum()
    plain = DTYPES.get(found.dtype, "")
    for matrix in matrices(found):
        parameters = matrix.count * matrix.rows * matrix.columns
        if parameters:
            dtype, size = _size(matrix, found, plain or "BF16")
            total.add((matrix.place, matrix.split, dtype, matrix.layer, False), parameters, size)
    return Weights(total.parts(), "computed", found.source, tuple(_unsure(found, plain)))


def _size(matrix: Matrix, found: Architecture, plain: str) -> tuple[str, int]:
    scheme = found.quantization
    if scheme and scheme.bits and matrix.module and converts(scheme, matrix.module):
        return f"{scheme.method} {scheme.bits:g} bit", matrix.count * matrix_bytes(scheme, matrix.rows, matrix.columns)
    return plain, matrix.count * matrix.rows * matrix.columns * WIDTHS[plain]


def _unsure(found: Architecture, plain: str) -> Iterable[str]:
    if found.model_type not in FAMILIES:
        yield f"the layers of a {found.model_type or found.name or 'model of no named kind'}, taken to be like Llama's"
    if not plain:
        yield "the dtype of the weights, taken to be bfloat16"
    if found.quantization and not found.quantization.bits:
        yield f"the bits of a weight under {found.quantization.method}, counted as not quantized"
    for tower in found.towers:
        yield f"the {tower.name} tower" + ("" if tower.parameters else ", which is not counted")
    for key in ("hidden_size_per_layer_input", "laurel_rank"):
        if number(found.raw, key):
            yield f"what {key} adds"


def _pattern(tensor: Tensor) -> str:
    """A tensor's name without the numbers, so that a thousand experts are one line."""
    return ".".join("N" if part.isdigit() else part for part in tensor.name.split("."))


def _few(names: set[str]) -> str:
    first = sorted(names)[:3]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more} more" if more > 0 else "")
