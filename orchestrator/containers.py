"""A command that starts the engine on its way out of its wrappings, and the wrapping that changes most: a container.
Pure.
"""

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from orchestrator.model import RuntimeSpec
from orchestrator.shell_words import as_written

_IMAGE = re.compile(r"(?:[^/\s]+/)*vllm-(?:openai|cpu)[\w-]*(?::(?P<tag>[\w.-]+))?(?:@\S+)?")
_VERSION = re.compile(r"v?(\d+\.\d+\.\d+(?:\.?(?:post|rc)\d+)?)")
_DOCKER_SWITCHES = frozenset((
    "--rm", "-d", "--detach", "-i", "--interactive", "-t", "--tty", "--init", "--privileged", "--read-only", "-P",
    "--publish-all", "--sig-proxy", "--no-healthcheck", "--disable-content-trust", "--oom-kill-disable", "-q",
    "--quiet", "--replace",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """The engine's own words after its program; ``style`` as in RuntimeInfo. ``cwd`` is what relative paths start from,
    "" for where orch is called. ``mounts`` maps a container's folders to the host's, ``published`` is a container's
    (address, port) on the host, ``gpus`` what docker gives it. ``lost`` has no place in a profile."""

    words: tuple[str, ...]
    style: Literal["serve", "module"]
    env: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    runtime: RuntimeSpec | None = None
    cwd: str = ""
    line: int = 1
    mounts: Mapping[str, str] = field(default_factory=dict)
    published: tuple[str, int] | None = None
    gpus: str = ""
    lost: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Open:
    """A command that is being unwrapped: ``words`` is what is left of it."""

    words: tuple[str, ...]
    env: Mapping[str, str]
    runtime: RuntimeSpec | None = None
    cwd: str = ""
    lost: tuple[str, ...] = ()

    @property
    def program(self) -> str:
        return self.words[0].rpartition("/")[2] if self.words else ""


def below(cwd: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(cwd, path)) if path else cwd


def docker(one: Open, unwrap: Callable[[Open], list[Found]]) -> list[Found]:
    """The image's entrypoint is the API server, or `vllm serve`; both take the model with --model, too. ``unwrap``
    finds the engine in a command that is given instead."""
    words = one.words[1:]
    if words[:1] == ("container",):
        words = words[1:]
    if words[:1] not in (("run",), ("create",)):
        return []
    options, rest = read_options(words[1:], lambda name: name not in _DOCKER_SWITCHES, joined="eptvwmuhl")
    image = _IMAGE.fullmatch(rest[0]) if rest else None
    if not image:
        return []
    given = {
        key: value for text in (*options.get("-e", ()), *options.get("--env", ())) for key, value in _variable(text)
    }
    runtime = RuntimeSpec("requirements", requirements=(_requirement(image["tag"] or ""),))
    inner = replace(one, words=rest[1:], env=given, runtime=runtime)
    entrypoint = next(iter(options.get("--entrypoint", ())), "")
    if entrypoint:
        found = unwrap(replace(inner, words=(entrypoint, *rest[1:])))
    elif rest[1:3] == ("vllm", "serve") or (rest[1:2] and rest[1].rpartition("/")[2] in ("bash", "sh", "python3")):
        found = unwrap(inner)
    else:
        style: Literal["serve", "module"] = "serve" if rest[1:] and not rest[1].startswith("-") else "module"
        found = [Found(tuple(rest[2 if rest[1:2] == ("serve",) else 1 :]), style, given)]
    lost = tuple(f"the variables of {as_written(file)} (--env-file)" for file in options.get("--env-file", ()))
    return [
        replace(
            each,
            runtime=runtime,
            cwd=next(iter((*options.get("-w", ()), *options.get("--workdir", ()))), "/vllm-workspace"),
            mounts=dict(_mounts(options, one.cwd)),
            published=None if _on_host(options) else _published(options),
            gpus=next(iter(options.get("--gpus", ())), ""),
            lost=(*one.lost, *lost, *each.lost),
        )
        for each in found
    ]


def _on_host(options: Mapping[str, list[str]]) -> bool:
    return "host" in (*options.get("--network", ()), *options.get("--net", ()))


def _variable(text: str) -> list[tuple[str, str]]:
    """``-e NAME`` alone hands on the caller's own."""
    name, equals, value = text.partition("=")
    return [(name, value if equals else f"\0${name}\0")] if name else []


def _requirement(tag: str) -> str:
    version = _VERSION.match(tag)
    return f"vllm=={version[1]}" if version else "vllm"


def _mounts(options: Mapping[str, list[str]], cwd: str) -> list[tuple[str, str]]:
    found = []
    for text in (*options.get("-v", ()), *options.get("--volume", ())):
        host, _, rest = text.partition(":")
        inside = rest.partition(":")[0]
        if inside and ("/" in host or host.startswith((".", "~"))):
            found.append((posixpath.normpath(inside), below(cwd, host)))
    for text in options.get("--mount", ()):
        pairs = dict(part.partition("=")[::2] for part in text.split(","))
        host = pairs.get("source") or pairs.get("src") or ""
        inside = pairs.get("target") or pairs.get("destination") or pairs.get("dst") or ""
        if host and inside and pairs.get("type", "volume") == "bind":
            found.append((posixpath.normpath(inside), below(cwd, host)))
    return found


def _published(options: Mapping[str, list[str]]) -> tuple[str, int] | None:
    for text in (*options.get("-p", ()), *options.get("--publish", ())):
        address, _, ports = text.rpartition("/")[0].rpartition(":") if "/" in text else text.rpartition(":")
        host, _, port = address.rpartition(":")
        if ports and port.isascii() and port.isdigit() and len(port) < 6:
            return (host.strip("[]") or "0.0.0.0", int(port))
    return None


def read_options(
    words: Sequence[str], takes: Callable[[str], bool], joined: str = ""
) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """The options before the first word that is none, with their values; and the rest. ``joined`` are the short ones
    whose value may follow without a space."""
    found: dict[str, list[str]] = {}
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        option = rest.pop(0)
        if option == "--":
            break
        name, equals, value = option.partition("=")
        if not name.startswith("--") and len(name) > 2 and joined:
            if name[1] not in joined or all(f"-{letter}" in _DOCKER_SWITCHES for letter in name[1:]):
                continue  # several switches at once, as -it
            name, equals, value = option[:2], "=", option[2:].removeprefix("=")
        if equals:
            found.setdefault(name, []).append(value)
        elif takes(name) and rest:
            found.setdefault(name, []).append(rest.pop(0))
    return found, tuple(rest)
