"""The text of a new profile and a new environment, commented for the person who goes on with it. Pure.

What is written here is read back by `load` as the same values.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.model import Environment, Gpus, Json, Profile, RuntimeSpec, SecretRef
from orchestrator.units import format_duration

SCHEMAS = ("schemas", "orchestrator/schemas", ".vscode")
"""Folders of a project in which an editor finds `{KIND}.schema.json`. The line that names it is written only where the
file is: to a file that is not there it would be an error in the editor."""

_WIDTH = 100
_PLAIN = re.compile(r"[A-Za-z0-9_./~][A-Za-z0-9_./~@+:=-]*", re.ASCII)
_NOT_TEXT = re.compile(
    r"[-+]?[0-9_]+(?::[0-9_]+)*(?:\.[0-9_]*)?(?:e[-+]?[0-9_]+)?|[-+]?\.[0-9_]+(?:e[-+]?[0-9_]+)?|0[box].*|[-+]?\.(?:inf|nan)"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*|~|null|true|false|yes|no|on|off|y|n|=",
    re.IGNORECASE,
)
"""What YAML 1.1 or 1.2 reads as anything but text."""
_NOTES: Mapping[str, str] = {
    "model.revision": "resolved once and kept until `orch apply --refresh`; a commit pins it",
    "serve.names": 'what clients write as "model"',
    "serve.host": "0.0.0.0 to serve other machines too",
    "serve.tensor_parallel_size": "how many GPUs share every layer; or auto",
    "serve.max_model_len": "prompt and answer together, in tokens",
    "serve.gpu_memory_utilization": "of each GPU, for weights and KV cache together",
    "serve.args": "any other flag of `vllm serve`, without the dashes in front",
    "gpus": "or a count, or a list: [2, 3]",
    "readiness.timeout": "from the start of the engine until it truly answers",
    "restart": "by `orch watch`",
    "drain": "how long running requests may take when it is stopped",
}
_ALONE = "every address; 127.0.0.1 is this machine alone"
_RUNTIMES: Mapping[str, str] = {
    "conda": "llm                       # an existing conda environment, by name or by prefix",
    "venv": "~/venvs/vllm               # an existing virtual environment",
    "self": "true                       # the Python that orch itself runs in",
    "requirements": "[vllm==0.32.0]     # built and owned by orch, beside the older ones",
}


@dataclass(frozen=True, slots=True)
class Draft:
    """``head`` are the comment lines on top, ``notes`` the comments behind values, by dotted field, in place of the
    usual ones; "" for none. ``absent`` are comment lines below a section, for what is not given in it: by section.
    ``schema`` is where the editor finds the schema, from the file's folder."""

    profile: Profile
    head: Sequence[str] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, Sequence[str]] = field(default_factory=dict)
    schema: str = ""


def profile_text(draft: Draft) -> str:
    profile, model, serve = draft.profile, draft.profile.model, draft.profile.serve
    usual = {path: note for path, note in _NOTES.items() if path not in ("serve.host", "gpus")}
    out = _Lines({**usual, **draft.notes}, draft.absent)
    out.head(draft.head, draft.schema)
    out.field("name", scalar(profile.name))
    out.field("environment", scalar(profile.environment), f"environments/{profile.environment}.yaml")
    out.section("model")
    if model.repo:
        out.field("model.repo", scalar(model.repo))
    else:
        out.field("model.path", scalar(_literal(model.path or "")))
    out.optional("model.revision", model.revision)
    out.optional("model.quantization", model.quantization)
    out.end("model")
    out.section("serve")
    out.optional("serve.names", list(serve.names) or None)
    everybody = serve.host in ("0.0.0.0", "::")
    out.field("serve.host", scalar(_literal(serve.host)), _ALONE if everybody else _NOTES["serve.host"])
    out.field("serve.port", str(serve.port))
    out.optional("serve.tensor_parallel_size", serve.tensor_parallel_size)
    out.optional(
        "serve.pipeline_parallel_size", serve.pipeline_parallel_size if serve.pipeline_parallel_size != 1 else None
    )
    out.optional("serve.max_model_len", serve.max_model_len)
    out.optional("serve.gpu_memory_utilization", serve.gpu_memory_utilization)
    if serve.args:
        out.field("serve.args", "")
        for name, value in sorted(serve.args.items()):
            out.value(f"serve.args.{name}", name, value, 2)
    out.end("serve")
    out.blank()
    out.field("gpus", _gpus(profile.gpus), _NOTES["gpus"] if profile.gpus == "auto" else "or auto: orch chooses")
    out.field("readiness", f"{{timeout: {duration(profile.ready_timeout)}}}", out.notes["readiness.timeout"])
    restart = f"{{policy: {profile.restart.policy}, attempts: {profile.restart.attempts}}}"
    out.field("restart", restart)
    out.field("drain", duration(profile.drain))
    return out.text()


def environment_text(environment: Environment, head: Sequence[str] = (), schema: str = "") -> str:
    out = _Lines({}, {})
    out.head(head, schema)
    out.field("name", scalar(environment.name))
    out.section("runtime", "exactly one of conda, venv, self and requirements")
    given = _runtime(environment.runtime)
    for key, value in given:
        out.value(f"runtime.{key}", key, value, 1)
    out.lines += [f"  # {key}: {text}" for key, text in _RUNTIMES.items() if key not in dict(given)]
    if added := _additions(environment):
        out.lines += ["", *added]
    return out.text()


def additions_text(environment: Environment) -> str:
    """What another environment needs to be like this one, but for the runtime: a part of its file. "" for nothing."""
    return "\n".join(line for line in _additions(environment) if line)


def _additions(environment: Environment) -> list[str]:
    out = _Lines({}, {})
    if environment.cuda_home:
        out.section("cuda")
        out.value("cuda.home", "home", _literal(environment.cuda_home), 1)
    if environment.hf_home:
        out.section("cache", "where downloads are kept")
        out.value("cache.hf_home", "hf_home", _literal(environment.hf_home), 1)
    if environment.env:
        out.section("env", "for the engine; text or numbers, never a secret")
        for name, value in sorted(environment.env.items()):
            out.value(f"env.{name}", name, value, 1)
    if environment.secrets:
        out.section(
            "secrets", "by reference: the value is read when the engine starts, and never shown or written down"
        )
        for name, ref in sorted(environment.secrets.items()):
            out.field(f"secrets.{name}", _reference(ref), f"or {{file: ~/.config/orch/{name.lower()}}}")
    return out.lines


def scalar(text: str) -> str:
    """A text as YAML, in quotes where it needs them."""
    if _PLAIN.fullmatch(text) and not _NOT_TEXT.fullmatch(text) and not text.endswith(":") and ": " not in text:
        return text
    if text.isprintable() and "'" not in text and ('"' in text or "\\" in text):
        return f"'{text}'"
    return '"' + "".join(_escaped(char) for char in text) + '"'


def flow(value: Json) -> str:
    """Any JSON value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)}: {flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(one) for one in value) + "]"
    return scalar(value) if isinstance(value, str) else json.dumps(value)


def duration(seconds: float) -> str:
    """So that it reads back as it is: 90.5 is ``1m30.5s``, which the usual form would round."""
    text = format_duration(seconds)
    return text if seconds == int(seconds) else f"{seconds:g}s"


class _Lines:
    def __init__(self, notes: Mapping[str, str], absent: Mapping[str, Sequence[str]]) -> None:
        self.lines: list[str] = []
        self.notes, self.absent = notes, absent

    def head(self, head: Sequence[str], schema: str) -> None:
        if schema:
            self.lines.append(f"# yaml-language-server: $schema={schema}")
        self.lines += comment(head)

    def blank(self) -> None:
        if self.lines:
            self.lines.append("")

    def section(self, name: str, note: str = "") -> None:
        self.blank()
        self.field(name, "", note)

    def field(self, path: str, value: str, note: str = "") -> None:
        """``value`` is YAML already."""
        *outer, name = path.split(".")
        note = self.notes.get(path, note)
        line = f"{'  ' * len(outer)}{name}: {value}".rstrip() + (f" # {one_line(note)}" if note else "")
        self.lines.append(line)

    def optional(self, path: str, value: Json) -> None:
        if value is not None:
            self.field(path, flow(value))

    def value(self, path: str, name: str, value: Json, depth: int) -> None:
        """On one line if that is short, else a section over several."""
        note = self.notes.get(path, "")
        short = flow(value)
        line = f"{'  ' * depth}{_key(name)}: "
        if isinstance(value, Mapping) and value and len(line + short) > _WIDTH:
            self.lines.append(line.rstrip() + (f" # {one_line(note)}" if note else ""))
            for key, one in value.items():
                self.value("", key, one, depth + 1)
        else:
            self.lines.append(line + short + (f" # {one_line(note)}" if note else ""))

    def end(self, name: str) -> None:
        self.lines += [f"  {line}" for line in comment(self.absent.get(name, ()))]

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def comment(lines: Iterable[str]) -> list[str]:
    return [f"# {one_line(line)}".rstrip() for line in lines]


def one_line(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]


def _key(name: str) -> str:
    return scalar(name) if len(name) < 100 and name != "<<" else '"' + "".join(map(_escaped, name)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def _literal(text: str) -> str:
    """Where `load` expands ``${VAR}``, a dollar sign is doubled."""
    return text.replace("$", "$$")


def _gpus(gpus: Gpus) -> str:
    if isinstance(gpus, tuple):
        return "[" + ", ".join(one if one.isdigit() else scalar(one) for one in gpus) + "]"
    return str(gpus)


def _reference(ref: SecretRef) -> str:
    return f"{{{ref.kind}: {scalar(ref.name)}}}"


def _runtime(runtime: RuntimeSpec) -> list[tuple[str, Json]]:
    if runtime.kind == "self":
        return [("self", True)]
    if runtime.kind in ("venv", "conda"):
        return [(runtime.kind, _literal(runtime.where))]
    lists = ("requirements", "constraints", "overrides", "find_links", "index")
    found: list[tuple[str, Json]] = [(key, [_literal(one) for one in getattr(runtime, key)]) for key in lists]
    found += [("torch_backend", _literal(runtime.torch_backend)), ("python", _literal(runtime.python))]
    return [(key, value) for key, value in found if value]
