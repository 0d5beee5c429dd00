"""Whether an engine's environment works: the library is really loaded by the runtime's own Python, and a file of three
lines is really linked as this runtime will link its own. No look at paths stands in for that.

A trial that could not be made (no compiler, a Python that does not run) proves nothing, and is no fault of libcuda.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.cuda.libcuda import NAME, Candidate, Listing
from orchestrator.environ import join_path
from orchestrator.model import Json
from orchestrator.shell import CommandFailed, run

INSIDE = Path(__file__).resolve().parent.parent / "inside" / "cuda.py"
LOAD_TIMEOUT = 60.0  # seconds; cuInit of eight cards that sleep takes some
TORCH_TIMEOUT = 180.0
LINK_TIMEOUT = 60.0
SOURCE = "int cuInit(unsigned int);\nint probe(void);\nint probe(void) { return cuInit(0); }\n"
EMPTY = "int probe(void);\nint probe(void) { return 0; }\n"
_LINKER = re.compile(r"^\S*?(?:ld|collect2|gcc|clang)\S*:\s+")
_SAYS = re.compile(r"cannot find|unable to find|undefined|error")
_NOISE = re.compile(r"collect2: |clang\S*: error: linker command failed|.*skipping incompatible ")


@dataclass(frozen=True, slots=True)
class Trial:
    """``what`` was tried, in a person's words. ``ok`` None: it could not be tried. ``why`` as the tool said it.
    ``settled``: it says the same until something changes; not so after a time-out."""

    name: str  # "load", or "link" for Triton, or "jit" for what links with a CUDA toolkit
    what: str
    ok: bool | None
    why: str = ""
    command: tuple[str, ...] = ()
    settled: bool = True

    @property
    def failed(self) -> bool:
        return self.ok is False

    def __str__(self) -> str:
        return f"{self.what}: {self.why}" if self.why else self.what


@dataclass(frozen=True, slots=True)
class Loaded:
    """The trial, and what else that Python told: the file it loaded, what cuInit answered (0: well), the newest CUDA
    of the driver (12040), Triton's version, and the folders of its packages."""

    trial: Trial
    path: str = ""
    init: int | None = None
    driver: int | None = None
    triton: str = ""
    sites: tuple[str, ...] = ()


def load(python: str, env: Mapping[str, str]) -> Loaded:
    """``env`` is the engine's whole environment."""
    command = (python, str(INSIDE), "load")
    answer = ask(command, env, LOAD_TIMEOUT)
    why = str(answer["why"]).removeprefix(f"{NAME}: ")
    trial = Trial("load", f"load {NAME}", answer["ok"], why, command, settled=answer["ok"] is not None)
    return Loaded(
        trial,
        path=answer.get("path") or "",
        init=answer.get("init"),
        driver=answer.get("driver"),
        triton=answer.get("triton") or "",
        sites=tuple(answer.get("sites") or ()),
    )


def judged(python: str, env: Mapping[str, str], candidate: Candidate) -> Candidate:
    """The same after it was loaded by its path: with why it is not the driver's library, and what cuInit answers."""
    if candidate.why:
        return candidate
    # The libraries that it needs in turn lie beside it.
    beside = os.path.dirname(candidate.path)  # noqa: PTH120 (of a string)
    path = join_path([*env.get("LD_LIBRARY_PATH", "").split(":"), beside])
    answer = ask((python, str(INSIDE), "load", candidate.path), {**env, "LD_LIBRARY_PATH": path}, LOAD_TIMEOUT)
    return replace(candidate, why="" if answer["ok"] else str(answer["why"]), init=answer.get("init"))


def torch_view(python: str, env: Mapping[str, str]) -> Mapping[str, Json]:
    """All that inside/cuda.py tells with torch imported, which takes seconds; {"ok": None, "why"} when it could not."""
    return ask((python, str(INSIDE), "torch"), env, TORCH_TIMEOUT)


def ask(command: Sequence[str], env: Mapping[str, str], timeout: float) -> dict[str, Json]:
    """The answer of inside/cuda.py: at least "ok" and "why". A library that brings the process down failed."""
    try:
        printed = run(command, env=env, timeout=timeout).stdout
        answer = json.loads(printed.strip().rpartition("\n")[2])
    except CommandFailed as error:
        crashed = error.status is not None and error.status < 0
        return {"ok": False if crashed else None, "why": error.why if crashed else f"{command[0]}: {error.why}"}
    except ValueError:
        return {"ok": None, "why": f"{command[0]} answered with no JSON"}
    return dict(answer) if isinstance(answer, dict) and "ok" in answer else {"ok": None, "why": "no answer"}


# ------------------------------------------------------------------------------------------------------------ linking


def links(env: Mapping[str, str], triton: str, listed: Listing, ldconfig: str) -> tuple[Trial, ...]:
    """Of everything in this runtime that links at run time. ``triton`` is its version, or ""; ``listed`` what the
    program ``ldconfig`` prints, which Triton calls by that very path."""
    made = []
    if triton:
        made.append(_triton(env, triton, listed, ldconfig))
    if home := toolkit(env):
        what = "link a JIT kernel with -lcuda"
        made.append(_link("jit", what, env, ["-lcuda", f"-L{home}/lib64", f"-L{home}/lib64/stubs"]))
    return tuple(made)


def toolkit(env: Mapping[str, str]) -> str:
    """The CUDA toolkit that JIT kernels are built with, as torch and FlashInfer find it, or ""."""
    if home := env.get("CUDA_HOME") or env.get("CUDA_PATH"):
        return home
    nvcc = shutil.which("nvcc", path=env.get("PATH", ""))
    beside = Path(nvcc).parent.parent if nvcc else None
    # A script that calls the nvcc of elsewhere stands beside no toolkit, and nothing can be built with it.
    headers = ("include/cuda.h", "targets/*/include/cuda.h")
    return str(beside) if beside and any(any(beside.glob(header)) for header in headers) else ""


def compiler(env: Mapping[str, str]) -> str | None:
    """The program that Triton calls: CC as it is, else gcc, else clang."""
    if chosen := env.get("CC"):
        return chosen
    return next((one for one in ("gcc", "clang") if shutil.which(one, path=env.get("PATH", ""))), None)


def triton_flag(version: str) -> str:
    """Up to 3.5 it links by the name that only development packages have."""
    numbers = [int(part) for part in re.findall(r"\d+", version)[:2]]
    return "-lcuda" if numbers < [3, 6] else f"-l:{NAME}"


def triton_folders(env: Mapping[str, str], listed: Listing, ldconfig: str) -> tuple[tuple[str, ...], str]:
    """Where Triton looks for the library to link with; and why it gives up before it links, or ""."""
    if chosen := env.get("TRITON_LIBCUDA_PATH"):
        return (chosen,), ""
    if not os.access(ldconfig, os.X_OK):
        return (), f"Triton calls {ldconfig}, which is not there"
    if listed.why:
        return (), f"Triton calls {ldconfig}, which fails: {listed.why}"
    folders = [os.path.dirname(path) for name, path in listed.rows if NAME in name or NAME in path]  # noqa: PTH120
    if not folders:
        entries = env.get("LD_LIBRARY_PATH", "").split(":")
        folders = [entry for entry in entries if entry and Path(entry, NAME).exists()]
    if not any(Path(folder, NAME).exists() for folder in folders):
        return (), f"Triton finds no {NAME}: {ldconfig} lists none"
    return tuple(dict.fromkeys(folders)), ""


def _triton(env: Mapping[str, str], version: str, listed: Listing, ldconfig: str) -> Trial:
    flag = triton_flag(version)
    what = f"link with {flag} as Triton {version} does"
    folders, why = triton_folders(env, listed, ldconfig)
    if why:
        return Trial("link", what, False, why)
    return _link("link", what, env, [flag, *(f"-L{folder}" for folder in folders)])


def _link(name: str, what: str, env: Mapping[str, str], flags: Sequence[str]) -> Trial:
    program = compiler(env)
    if program is None:
        return Trial(name, what, None, "there is no compiler: neither CC, nor gcc or clang on the engine's PATH")
    try:
        with tempfile.TemporaryDirectory(prefix="orch-link-") as folder:
            command = _command(program, "probe.c", *flags)
            why = _compile(command, SOURCE, Path(folder), env)
            # What fails without the library, too, is the compiler's fault.
            broken = why and _compile(_command(program, "empty.c"), EMPTY, Path(folder), env)
    except OSError as error:
        return Trial(name, what, None, f"no temporary folder to link in: {error.strerror or error}", settled=False)
    if broken:
        return Trial(name, what, None, f"the compiler does not work: {broken}", command, settled=False)
    return Trial(name, what, not why, why, command)


def _command(program: str, source: str, *flags: str) -> tuple[str, ...]:
    return (program, source, "-shared", "-fPIC", "-o", "probe.so", *flags)


def _compile(command: Sequence[str], source: str, folder: Path, env: Mapping[str, str]) -> str:
    """Why it fails, in the tool's own words, or ""."""
    (folder / command[1]).write_text(source)
    try:
        run(command, env={**env, "LC_ALL": "C"}, cwd=folder, timeout=LINK_TIMEOUT)
    except CommandFailed as error:
        return meaning(error.tail) or error.why
    return ""


def meaning(lines: Sequence[str]) -> str:
    """The last line of a linker's complaint that says something: without the tool's path; hints and what the compiler
    adds left out."""
    said = [line.strip() for line in lines if line.strip() and not _NOISE.match(line.strip())]
    told = [line for line in said if _SAYS.search(line)] or said
    return _LINKER.sub("", told[-1]).removeprefix("error: ") if told else ""
