"""What stands around a command that starts the engine, in an environment's terms: its variables, its secrets, its GPUs,
its Python; and where its paths are on this host. Pure.
"""

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.containers import Found
from orchestrator.engine_words import LOOKS_SECRET, can_be_said, shown
from orchestrator.environ import BASELINE
from orchestrator.hub_names import modern
from orchestrator.model import Gpus, Json, RuntimeSpec, SecretRef
from orchestrator.shell_words import as_written, is_plain, pieces

ENGINE_VARIABLES = re.compile(
    r"(?:VLLM|HF|HUGGING_?FACE\w*|TRANSFORMERS|TOKENIZERS|SAFETENSORS|CUDA|NVIDIA|NCCL|GLOO|UCX|TORCH\w*|PYTORCH\w*|TRITON"
    r"|FLASHINFER|FLASH_ATTN|XFORMERS|OMP|MKL|KMP|RAY|LMCACHE|MODELSCOPE|OTEL|PROMETHEUS|AWS|S3|RUNAI\w*|DG|LD)_\w+"
)
"""Of a process, which has all of its shell's variables: those that an engine or its libraries read."""
SECRET = re.compile(
    r"(?:.*_)?(?:TOKEN|API_?KEY|SECRET|SECRET_(?:ACCESS_)?KEY|ACCESS_KEY_ID|PASSWORD|PASSWD)", re.IGNORECASE
)
"""Names of a flag or of a key in its mapping."""
_SECRET_VARIABLE = re.compile(rf"{SECRET.pattern}|(?:.*_)?(?:KEYS?|CREDENTIALS?|PASSPHRASE|PASS)", re.IGNORECASE)
"""Of a variable more names are taken for a secret's: to be a reference costs it nothing."""
_CAT = re.compile(r"\$\(\s*(?:cat\s+(?:--\s+)?|<\s*)([\w./~-]+)\s*\)")
_NAME = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_GPU = re.compile(r"[0-9]{1,6}|(?:GPU|MIG)-[0-9A-Za-z/-]+")
_ORCH_SETS = (
    "PATH", "PWD", "OLDPWD", "SHLVL", "_", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "PYTHONUNBUFFERED",
)  # fmt: skip

Exists = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Place:
    """Where relative paths of the command start, and what is there. ``config`` reads the file of --config: None when
    it cannot be read."""

    cwd: str
    exists: Exists
    config: Callable[[str], Json]


class Around:
    """Filled by ``read_variables`` and by whoever finds a secret. ``env`` is as an environment file says it, ``homes``
    the folders that have a field there by their variables; ``secrets_from`` says where each secret's value was. What no
    file can say goes to ``left``, what is good to know to ``remarks``."""

    def __init__(self, found: Found, place: Place) -> None:
        self.found, self.place = found, place
        self.cwd = posixpath.normpath(posixpath.join(place.cwd, found.cwd))
        self.remarks: list[str] = []
        self.left: list[str] = list(found.lost)
        self.secrets: dict[str, SecretRef] = {}
        self.secrets_from: dict[str, str] = {}
        self.env: dict[str, str] = {}
        self.homes: dict[str, str] = {}

    def host_path(self, path: str) -> str:
        """Absolute, and as the host has it where the command runs in a container."""
        full = posixpath.normpath(posixpath.join(self.cwd, path))
        full = full[1:] if full.startswith("//") else full
        for inside, host in sorted(self.found.mounts.items(), key=lambda pair: -len(pair[0])):
            if full == inside or full.startswith(inside.rstrip("/") + "/"):
                moved = host.rstrip("/") + full[len(inside.rstrip("/")) :]
                return posixpath.normpath(posixpath.join(self.place.cwd, moved or "/"))
        return full

    def gpus(self) -> Gpus:
        visible = self.found.env.get("CUDA_VISIBLE_DEVICES")
        if visible is None and self.found.gpus:
            return self._docker_gpus(self.found.gpus)
        if visible is None:
            return "auto"
        if visible.strip() in ("", "-1", "NoDevFiles"):
            return 0
        if self.found.env.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID") != "PCI_BUS_ID":
            self.left.append("CUDA_DEVICE_ORDER: orch counts GPUs as nvidia-smi does, so check the indexes under gpus")
        return self._cards(visible, "CUDA_VISIBLE_DEVICES")

    def _docker_gpus(self, text: str) -> Gpus:
        text = text.strip("\"'")
        if text == "all":
            return "auto"
        if text.isascii() and text.isdigit() and len(text) < 5:
            return int(text)
        return self._cards(text.partition("device=")[2].strip("\"'"), "--gpus")

    def _cards(self, text: str, where: str) -> Gpus:
        cards = tuple(re.sub(r"^0+(?=[0-9])", "", part.strip()) for part in text.split(","))
        if all(_GPU.fullmatch(one) for one in cards) and len(set(cards)) == len(cards):
            return cards
        self.left.append(f"{where}={shown(as_written(text))}, which names no GPUs that a profile could list")
        return "auto"

    def read_variables(self) -> None:
        env = {name: value for name, value in self.found.env.items() if not _is_orchs(name)}
        plain = modern({name: value for name, value in env.items() if is_plain(value)})
        for name, value in sorted({**{key: one for key, one in env.items() if not is_plain(one)}, **plain}.items()):
            if _SECRET_VARIABLE.fullmatch(name) or LOOKS_SECRET.search(value):
                self.secret(name, value, name)
            elif name in ("HF_HOME", "CUDA_HOME") and is_plain(value) and value and can_be_said(value):
                self.homes[name] = self.host_path(value)
            elif (text := _variable(value)) is None:
                self.left.append(f"the variable {name}, whose value only the shell that runs it knows")
            elif not can_be_said(text) or not _NAME.fullmatch(f"${name}"):
                self.left.append(f"the variable {name}, which is no text")
            else:
                self.env[name] = text
        for name in sorted(self.found.kept):
            if ENGINE_VARIABLES.fullmatch(name) and name not in self.found.env:
                self.remarks.append(f"{name} is set and not exported: the engine does not get it")
        for inside, host in self.found.mounts.items():
            if inside.rstrip("/") == "/root/.cache/huggingface" and "HF_HOME" not in self.homes and can_be_said(host):
                self.homes["HF_HOME"] = posixpath.normpath(posixpath.join(self.place.cwd, host))

    def secret(self, variable: str, value: str, where: str) -> None:
        """``{file: ...}`` for what was read from one, ``{env: ...}`` else; the value itself goes no further."""
        variable = "HF_TOKEN" if variable in ("HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN") else variable
        parts = pieces(value)
        self.secrets[variable] = SecretRef("env", variable)
        if len(parts) == 1 and parts[0][1]:
            if found := _CAT.fullmatch(parts[0][0]):
                file = found[1] if found[1].startswith("~") else self.host_path(found[1])
                self.secrets[variable] = SecretRef("file", file)
            elif found := _NAME.fullmatch(parts[0][0]):
                self.secrets[variable] = SecretRef("env", found[1])
        self.secrets_from[variable] = where

    def runtime(self) -> RuntimeSpec | None:
        runtime = self.found.runtime
        if runtime is None:
            return None
        words = (runtime.where, *runtime.requirements, runtime.python, runtime.torch_backend)
        if any(not is_plain(word) or not can_be_said(word) or LOOKS_SECRET.search(word) for word in words):
            self.left.append("its Python, whose place only the shell that runs it knows")
            return None
        if runtime.kind == "venv" or (runtime.kind == "conda" and "/" in runtime.where):
            where = posixpath.normpath(posixpath.join(self.place.cwd, runtime.where))
            return RuntimeSpec(runtime.kind, where)
        return runtime


def _is_orchs(name: str) -> bool:
    hidden = name in BASELINE or name in _ORCH_SETS or name.startswith(("ORCH_", "BASH_FUNC"))
    return hidden or name in ("SPT_NOENV", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")


def _variable(value: str) -> str | None:
    """As an environment file says it: a variable of the caller's stays one. None for a command's output."""
    text = ""
    for part, unknown in pieces(value):
        if not unknown:
            text += part.replace("$", "$$")
        elif found := _NAME.fullmatch(part):
            text += f"${{{found[1]}:-}}"
        else:
            return None
    return text
