"""Which files of a repository an engine will load, and how much of them is here. Pure.

The rules are those of vLLM's own loader (vllm/model_executor/model_loader): one kind of weights, the best that the
repository has for the load format, and everything beside them that is neither weights nor documentation.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath

from orchestrator.model import RemoteFile, RepoUse

_WEIGHTS = frozenset(
    (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".ot", ".onnx", ".onnx_data", ".tflite",
     ".ckpt", ".mlmodel", ".mlpackage", ".nemo", ".tar", ".gz", ".zip", ".npz", ".engine", ".distcp", ".tensors")
)  # fmt: skip
_PAPERS = frozenset(
    (".md", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".mp4", ".mov", ".mp3", ".wav", ".pdf", ".ipynb")
)
_PAPER_NAMES = frozenset((".gitattributes", ".gitignore", "LICENSE", "LICENSE.txt", "NOTICE", "NOTICE.txt"))
_FOREIGN = frozenset(("original", "onnx", "openvino", "coreml", "metal", "runs", "figures", "assets", ".cache", ".git"))
"""Folders with the same model for somebody else. The engine leaves out ``original/`` by name."""

_ANY = ("*.safetensors", "*.bin", "*.pt")
_PATTERNS = {
    "hf": _ANY,
    "safetensors": ("*.safetensors",),
    "fastsafetensors": ("*.safetensors",),
    "runai_streamer": ("*.safetensors",),
    "instanttensor": ("*.safetensors",),
    "mistral": ("consolidated*.safetensors",),
    "sharded_state": ("*.safetensors",),
    "runai_streamer_sharded": ("*.safetensors",),
    "bitsandbytes": _ANY,
    "pt": ("*.pt",),
    "npcache": ("*.bin",),
    "gguf": ("*.gguf",),
    "tensorizer": ("*.tensors", "*.safetensors"),
    "dummy": (),
}
"""For each load format what is looked for, the first that is there wins."""


@dataclass(frozen=True, slots=True)
class Choice:
    """``files`` to have, sorted by path; ``left_out`` is how many others there are; ``weights`` the kind in a word.
    ``why`` is not empty when nothing can be chosen."""

    files: tuple[RemoteFile, ...] = ()
    left_out: int = 0
    weights: str = ""
    why: str = ""
    do: str = ""

    @property
    def total(self) -> int:
        return sum(file.size for file in self.files)


def choose(
    files: Sequence[RemoteFile], use: RepoUse, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Choice:
    """``include`` and ``exclude`` are shell patterns for whole paths; given ``include``, nothing else is chosen."""
    if include:
        return _only(files, lambda path: _matches(path, include) and not _matches(path, exclude), "as asked for")
    texts = [file for file in files if _is_text(file.path)]
    if use.wants == "code":
        texts = [file for file in texts if file.path.endswith((".py", ".json"))]
    if use.wants != "weights":
        return _chosen(files, texts, "no weights", exclude)
    weights, word = _weights([file for file in files if not _is_foreign(file.path)], use)
    if not weights and use.load_format != "dummy":
        return Choice(left_out=len(files), why=_nothing(use, files), do=_instead(use, files))
    if word == "gguf" and (several := _several_models(weights)):
        why = f"it holds {len(several)} GGUF models ({', '.join(several[:12])})"
        return Choice(left_out=len(files), why=why, do=f"say which one: {use.repo}:QUANT, as {use.repo}:Q4_K_M")
    return _chosen(files, [*texts, *weights], word, exclude)


def _weights(files: Sequence[RemoteFile], use: RepoUse) -> tuple[list[RemoteFile], str]:
    patterns = _PATTERNS.get(use.load_format, _ANY)
    if use.variant:
        patterns = ("*.gguf",)
    elif use.load_format == "auto":
        # As the engine has it: Mistral's own files where there are any, else what transformers writes.
        patterns = ("consolidated*.safetensors", *_ANY, "*.gguf")
    for pattern in patterns:
        found = [file for file in files if fnmatch(file.path, pattern)]
        if use.variant:
            found = [file for file in found if use.variant.lower() in _name(file.path).lower()]
        if found:
            # A sentence-transformers module (1_Pooling, 2_Dense) brings weights of its own, maybe of another kind.
            modules = [file for file in files if _is_module(file.path) and file not in found]
            return [*found, *modules], pattern.rpartition(".")[2]
    return [], "no weights"


def _nothing(use: RepoUse, files: Iterable[RemoteFile]) -> str:
    kinds = sorted({PurePosixPath(file.path).suffix for file in files} & _WEIGHTS)
    there = f"there is {', '.join(kinds)}" if kinds else "it holds no weights at all"
    what = f"GGUF file called {use.variant}" if use.variant else f"weights for load_format {use.load_format}"
    return f"it has no {what}: {there}"


def _instead(use: RepoUse, files: Iterable[RemoteFile]) -> str:
    names = sorted(_name(file.path) for file in files if file.path.endswith(".gguf"))
    if use.variant and names:
        return f"there is {', '.join(names[:12])}"
    return "name another repository, or another load_format"


def _several_models(weights: Iterable[RemoteFile]) -> list[str]:
    """The names of GGUF models when there is more than one; the shards of one (-00001-of-00003) count as one, and a
    projector (mmproj) belongs to whichever."""
    names = {_name(file.path) for file in weights if not _name(file.path).lower().startswith("mmproj")}
    models = sorted({name.rpartition("-of-")[0].rpartition("-")[0] if "-of-" in name else name for name in names})
    return models if len(models) > 1 else []


def _is_text(path: str) -> bool:
    suffix = PurePosixPath(path).suffix.lower()
    return not (suffix in _WEIGHTS | _PAPERS or _name(path) in _PAPER_NAMES or _is_foreign(path))


def _is_foreign(path: str) -> bool:
    return path.partition("/")[0] in _FOREIGN and "/" in path


def _is_module(path: str) -> bool:
    folder, slash, _ = path.partition("/")
    return bool(slash) and folder[:1].isdigit() and "_" in folder and path.endswith((".safetensors", ".bin"))


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


def _only(files: Sequence[RemoteFile], wanted: Callable[[str], bool], word: str) -> Choice:
    chosen = [file for file in files if wanted(file.path)]
    if not chosen:
        return Choice(left_out=len(files), why="none of its files matches", do="look at its files on the Hub")
    return _chosen(files, chosen, word, ())


def _chosen(files: Sequence[RemoteFile], wanted: Iterable[RemoteFile], word: str, exclude: Sequence[str]) -> Choice:
    chosen = sorted({file for file in wanted if not _matches(file.path, exclude)}, key=lambda file: file.path)
    return Choice(tuple(chosen), len(files) - len(chosen), word)
