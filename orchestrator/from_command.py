"""A command line that starts vLLM, with what stands around it, as the values of a profile and an environment. Pure.

Nothing is dropped in silence: what a profile cannot say is in ``left``. A secret is never in any of the values: it
becomes a reference, and ``secrets`` says where its value was.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.checks import is_repo
from orchestrator.containers import Found
from orchestrator.engine_words import LOOKS_SECRET, can_be_said, config_words, read_words, shown
from orchestrator.engines.knowledge import Engine
from orchestrator.engines.values import human_int
from orchestrator.errors import InputError
from orchestrator.model import Json, ModelRef, Profile, RuntimeSpec, SecretRef, Serve
from orchestrator.shell_words import as_written, is_plain
from orchestrator.surroundings import SECRET, Around, Place

_HOST = re.compile(r"[A-Za-z0-9.:_%-]+")
_EVERY_ADDRESS = "0.0.0.0"


@dataclass(frozen=True, slots=True)
class Taken:
    """What a command came to. ``runtime`` is None where it does not tell; ``notes`` are comments by field;
    ``secrets`` maps the name of each to where its value was ("--api-key")."""

    profile: Profile
    runtime: RuntimeSpec | None = None
    cuda_home: str | None = None
    hf_home: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, SecretRef] = field(default_factory=dict)
    secrets_from: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def take(found: Found, engines: Sequence[Engine], place: Place) -> Taken:
    """Raises InputError when it does not say which model."""
    return _Taker(found, engines, place).take()


def name_of(model: str) -> str:
    """A deployment's name: ``qwen3-32b-awq`` for Qwen/Qwen3-32B-AWQ or /models/Qwen3-32B-AWQ/."""
    last = model.rstrip("/").rpartition("/")[2].partition(":")
    text = re.sub(r"[^a-z0-9._-]+", "-", f"{last[0]}-{last[2]}".lower()).strip("._-")
    return text[:63].rstrip("._-") or "model"


class _Taker:
    def __init__(self, found: Found, engines: Sequence[Engine], place: Place) -> None:
        self.found, self.engines, self.place = found, engines, place
        self.around = Around(found, place)
        self.remarks, self.left = self.around.remarks, self.around.left
        self.notes: dict[str, str] = {}

    def take(self) -> Taken:
        words = self._with_config(self._known(self.found.words))
        values = read_words(words, self.engines, self.found.style)
        self.remarks += values.remarks
        self.left += values.left
        if not values.model:
            raise InputError("make a profile of this command", "it does not say which model", "name the model in it")
        args = dict(values.args)
        model = self._model(values.model, args)
        gpus = self.around.gpus()
        self.around.read_variables()
        drain = self._drain(args)
        serve = self._serve(values.model, model, args)
        profile = Profile(
            name=name_of(model.label),
            environment="",
            model=model,
            serve=serve,
            gpus=gpus,
            drain=drain,
        )
        if self.found.logs:
            where = ", ".join(shown(as_written(one)) for one in self.found.logs)
            self.remarks.append(f"its output went to {where}: orch keeps logs of its own, see `orch logs`")
        return Taken(
            profile,
            self.around.runtime(),
            self.around.homes.get("CUDA_HOME"),
            self.around.homes.get("HF_HOME"),
            dict(sorted(self.around.env.items())),
            dict(sorted(self.around.secrets.items())),
            self.around.secrets_from,
            self.notes,
            tuple(dict.fromkeys(self.remarks)),
            tuple(dict.fromkeys(self.left)),
        )

    # ------------------------------------------------------------------------------------------- words that are known

    def _known(self, words: Sequence[str]) -> list[str]:
        """Without what only a running shell could tell: a flag goes with its value, a secret becomes a reference."""
        kept: list[str] = []
        for word in words:
            if is_plain(word):
                kept.append(word)
                continue
            flag = kept[-1] if kept and kept[-1].startswith("--") and "=" not in kept[-1] else ""
            head = word.partition("=")[0] if word.startswith("--") and is_plain(word.partition("=")[0]) else ""
            name = (head or flag).lstrip("-").replace("-", "_")
            if name in ("api_key", "hf_token"):
                if not head:
                    kept.pop()
                self.around.secret(
                    "VLLM_API_KEY" if name == "api_key" else "HF_TOKEN", word.removeprefix(f"{head}="), f"--{name}"
                )
                continue
            if flag and not head:
                kept.pop()
            if not (flag or head or kept):
                why = f"its model is {shown(as_written(word))}, which only the shell that runs it knows"
                raise InputError("make a profile of this command", why, "put the model's name there")
            self.left.append(f"{shown(as_written(f'{flag} {word}'.strip()))}, which only the shell that runs it knows")
        return kept

    def _with_config(self, words: list[str]) -> list[str]:
        """The flags of the file that --config names, before the others, as the engine puts them."""
        for i, word in enumerate(words):
            if word != "--config" and not word.startswith("--config="):
                continue
            file = word.partition("=")[2] or (words[i + 1] if i + 1 < len(words) else "")
            rest = words[:i] + words[i + (1 if "=" in word else 2) :]
            config = self.place.config(self.around.host_path(file)) if file else None
            if not isinstance(config, Mapping):
                self.left.append(f"--config {shown(file)}, a file that cannot be read here")
                return rest
            self.remarks.append(f"the flags in {shown(file)} (--config) are taken into the profile")
            first = 1 if self.found.style == "serve" and rest and not rest[0].startswith("-") else 0
            return [*rest[:first], *config_words(config), *rest[first:]]
        return words

    # --------------------------------------------------------------------------------------------------------- model

    def _model(self, text: str, args: dict[str, Json]) -> ModelRef:
        revision = self._text(args, "revision")
        quantization = self._text(args, "quantization")
        if quantization in ("None", ""):
            quantization = None
        path = self.around.host_path(text)
        is_path = text.startswith(("/", "./", "../")) or text in (".", "..") or self.place.exists(path)
        if not can_be_said(text) or not can_be_said(path) or not text or (not is_path and not is_repo(text)):
            why = f"{shown(text)} is neither a repository on the Hub nor a folder here"
            raise InputError("make a profile of this command", why, "name OWNER/NAME, or the folder by its full path")
        if is_path:
            return ModelRef(path=path, revision=revision, quantization=quantization)
        return ModelRef(repo=text, revision=revision, quantization=quantization)

    def _text(self, args: dict[str, Json], name: str) -> str | None:
        value = args.pop(name, None)
        if value is None:
            return None
        if (
            isinstance(value, str | int | float)
            and not isinstance(value, bool)
            and can_be_said(str(value))
            and value != ""
        ):
            return str(value)
        self.left.append(f"{_flag(name)} without one value")
        return None

    # --------------------------------------------------------------------------------------------------------- serve

    def _serve(self, written: str, model: ModelRef, args: dict[str, Json]) -> Serve:
        self._flags_with_secrets(args)
        self._download_dir(args.pop("download_dir", None))
        host, port = self._address(args)
        given: dict[str, Any] = {
            "tensor_parallel_size": self._number(args, "tensor_parallel_size", 1, 1 << 20) or 1,
            "pipeline_parallel_size": self._number(args, "pipeline_parallel_size", 1, 1 << 20) or 1,
            "max_model_len": self._max_model_len(args),
            "gpu_memory_utilization": self._share(args),
        }
        names = self._names(written, model, args)
        return Serve(names=names, host=host, port=port, args=self._args(args), **given)

    def _names(self, written: str, model: ModelRef, args: dict[str, Json]) -> tuple[str, ...]:
        value = args.pop("served_model_name", None)
        words = value if isinstance(value, list) else [] if value is None or isinstance(value, bool) else [value]
        names = tuple(dict.fromkeys(str(word) for word in words if word != "" and can_be_said(str(word))))
        if len(names) < len({str(word) for word in words}) or isinstance(value, bool):
            self.left.append("--served-model-name with a name that is empty or no text")
        if names or written == model.label:
            return names
        self.notes["serve.names"] = "as the engine calls a model by itself: by what the command says"
        return (written,)

    def _address(self, args: dict[str, Json]) -> tuple[str, int]:
        host = self._text(args, "host")
        port = self._number(args, "port", 1, 65535)
        if host is not None and not _HOST.fullmatch(host):
            self.left.append(f"--host {shown(host)}, which is no address")
            host = None
        if self.found.published:
            self.notes["serve.host"], self.notes["serve.port"] = "as docker published it", "as docker published it"
            address, outside = self.found.published
            return (address if _HOST.fullmatch(address) else _EVERY_ADDRESS), (outside if 0 < outside < 65536 else 8000)
        if host is None:
            self.notes["serve.host"] = "every address, as without --host; 127.0.0.1 is this machine alone"
        return host or _EVERY_ADDRESS, port or 8000

    def _drain(self, args: dict[str, Json]) -> float:
        seconds = self._number(args, "shutdown_timeout", 0, 1 << 31)
        if not seconds:
            self.notes["drain"] = "as the command has it: requests are cut when it stops; 30s lets them end"
        return float(seconds or 0)

    def _number(self, args: dict[str, Json], name: str, least: int, most: int) -> int | None:
        value = args.pop(name, None)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and least <= value <= most):
            return value
        self.left.append(f"{_flag(name)} {_shown(value)}, which is no whole number from {least}")
        return None

    def _max_model_len(self, args: dict[str, Json]) -> int | None:
        value = args.pop("max_model_len", None)
        length = human_int(value) if isinstance(value, str) and len(value) < 20 else value
        if isinstance(length, int) and not isinstance(length, bool) and 0 < length < 1 << 63:
            return length
        if value is not None:
            self.left.append(f"--max-model-len {_shown(value)}: a profile says a number of tokens, or leaves it out")
        return None

    def _share(self, args: dict[str, Json]) -> float | None:
        value = args.pop("gpu_memory_utilization", None)
        share = _real(value)
        if share is not None and 0 < share <= 1:
            return share
        if value is not None:
            self.left.append(f"--gpu-memory-utilization {_shown(value)}, which is no number above 0 and up to 1")
        return None

    def _flags_with_secrets(self, args: dict[str, Json]) -> None:
        for name, variable in (("api_key", "VLLM_API_KEY"), ("hf_token", "HF_TOKEN")):
            value = args.pop(name, None)
            if value is True:
                self.left.append(
                    f"{_flag(name)} alone, which takes the token of `hf auth login`: use a secret, HF_TOKEN"
                )
            elif value not in (None, False):
                keys = value if isinstance(value, list) else [value]
                self.around.secret(variable, str(keys[0]), _flag(name))
                if len(keys) > 1:
                    self.left.append(f"{len(keys) - 1} more of the values of {_flag(name)}: a secret holds one")
        for name in sorted(args):
            if SECRET.fullmatch(name) or _holds_secret(args[name]):
                del args[name]
                do = "give it in a variable that the engine reads, under secrets: in the environment"
                self.left.append(f"the value of {_flag(name)}, which looks like a secret ({do})")

    def _download_dir(self, value: Json) -> None:
        if not isinstance(value, str) or not value:
            return
        folder = self.around.host_path(value)
        if not can_be_said(folder):
            self.left.append("--download-dir, which is no text")
            return
        if posixpath.basename(folder) == "hub":
            self.around.homes["HF_HOME"] = posixpath.dirname(folder)
        else:
            self.around.env["HF_HUB_CACHE"] = folder.replace("$", "$$")
        self.remarks.append(f"--download-dir is where the environment keeps weights: {shown(folder)}")

    def _args(self, args: Mapping[str, Json]) -> dict[str, Json]:
        kept: dict[str, Json] = {}
        for name, given in args.items():
            value = self._moved(given)
            if _unsayable(value):
                self.left.append(f"{_flag(name)}, whose value YAML cannot hold")
            else:
                kept[name] = value
        return kept

    def _moved(self, value: Json) -> Json:
        """A relative path of what is there becomes a full one: an engine of orch's starts in another folder."""
        if isinstance(value, list):
            return [self._moved(one) for one in value]
        if not isinstance(value, str) or not value or "\n" in value or len(value) > 4096 or value[0] in "{[":
            return value
        name, equals, path = value.partition("=")
        if equals and re.fullmatch(r"[\w.-]+", name):  # of --lora-modules
            moved = self._moved_path(path)
            return f"{name}={moved}" if moved != path else value
        return self._moved_path(value)

    def _moved_path(self, path: str) -> str:
        inside = any(path == one or path.startswith(one.rstrip("/") + "/") for one in self.found.mounts)
        if path.startswith("/") and not inside:
            return path
        full = self.around.host_path(path)
        dotted = path.startswith(("./", "../"))
        return (
            full if inside or ((dotted or "/" in path or "." in path.strip(".")) and self.place.exists(full)) else path
        )


def _holds_secret(value: Json) -> bool:
    if isinstance(value, str):
        return bool(LOOKS_SECRET.search(value))
    if isinstance(value, Mapping):
        return any(_holds_secret(one) or (SECRET.fullmatch(key) and one) for key, one in value.items())
    return isinstance(value, list) and any(_holds_secret(one) for one in value)


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def _unsayable(value: Json) -> bool:
    return not all(can_be_said(text) for text in _texts(value))


def _real(value: Json) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _shown(value: Json) -> str:
    return "without a value" if isinstance(value, bool) else shown(str(value))
