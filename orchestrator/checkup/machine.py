"""The facts of the machine: driver, devices, toolkits, limits. ``root`` can be a tree of folders that a test made."""

import getpass
import os
import re
import resource
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from orchestrator.chain.facts import Machine, Node, Smi, Toolkit
from orchestrator.checkup.files import folder, names, node, text
from orchestrator.files import read_json
from orchestrator.iommu import cards
from orchestrator.model import Inventory
from orchestrator.shell import CommandFailed, run

SMI_TIMEOUT = 15.0  # seconds; without persistence mode the first answer of eight cards takes some
NVCC_TIMEOUT = 10.0
WSL_TOOLS = "/usr/lib/wsl/lib"
CONTAINER_MARKS = (".dockerenv", "run/.containerenv", ".singularity.d")
_MODULE = re.compile(r"Kernel Module\s+(?:for \S+\s+)?([0-9][0-9.]+)")
_CARD = re.compile(r"nvidia[0-9]+")
_TOOLKIT = re.compile(r"cuda(-[0-9][0-9.]*)?")
_RELEASE = re.compile(r"release ([0-9.]+)")


def look(
    variables: Mapping[str, str],
    inventory: Callable[[], Inventory | None],
    now: float,
    folders: Iterable[tuple[str, Path]] = (),
    root: Path = Path("/"),
    timeout: float = SMI_TIMEOUT,
) -> Machine:
    """``inventory`` is not asked while nvidia-smi hangs: it would, too. ``folders``: (purpose, path) of orch's own."""
    smi = _smi(variables, root, timeout)
    wsl = (root / "dev/dxg").exists() or "microsoft" in text(root / "proc/sys/kernel/osrelease").lower()
    return Machine(
        cards=len(cards(root / "sys")),
        wsl=wsl,
        container=any(os.path.lexists(root / mark) for mark in CONTAINER_MARKS)
        or "KUBERNETES_SERVICE_HOST" in variables,
        user=_user(),
        kernel=_module(root),
        smi=smi,
        inventory=None if smi.hangs else inventory(),
        nodes=_nodes(root, wsl=wsl),
        toolkits=tuple(toolkits(root)),
        nofile=resource.getrlimit(resource.RLIMIT_NOFILE),
        shm=_shm(root / "dev/shm"),
        now=now,
        folders=tuple(folder(purpose, str(path)) for purpose, path in folders),
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in a container
        return ""


def _module(root: Path) -> str:
    found = _MODULE.search(text(root / "proc/driver/nvidia/version"))
    return found[1] if found else ""


def _smi(variables: Mapping[str, str], root: Path, timeout: float) -> Smi:
    folders = [one for one in variables.get("PATH", "").split(":") if one.startswith("/")]
    places = [root / one.lstrip("/") / "nvidia-smi" for one in (*folders, "/usr/bin", WSL_TOOLS)]
    program = next((one for one in places if os.access(one, os.X_OK) and one.is_file()), None)
    if program is None:
        return Smi()
    try:
        argv = [str(program), "--query-gpu=driver_version", "--format=csv,noheader"]
        said = run(argv, env={"PATH": os.defpath, "LC_ALL": "C"}, timeout=timeout).stdout
    except CommandFailed as error:
        words = " ".join(error.stdout.split()) or error.why
        hangs = error.status is None and error.why.startswith("no end")
        return Smi(str(program), trouble=error.why if hangs else words, hangs=hangs)
    first = next(iter(said.split()), "")
    if not re.fullmatch(r"[0-9][0-9.]+", first):
        return Smi(str(program), trouble=f"it answers {' '.join(said.split())[:200] or 'nothing'}")
    return Smi(str(program), first)


def _nodes(root: Path, *, wsl: bool) -> tuple[Node, ...]:
    """Those that CUDA opens. Of the cards at least one must be there: a container or a job may be given some only."""
    if wsl:
        return (node(root / "dev/dxg", "/dev/dxg", opens=True),)
    found = [one for one in names(root / "dev") if _CARD.fullmatch(one)] or ["nvidia0"]
    controls = [node(root / "dev" / one, f"/dev/{one}", opens=True) for one in ("nvidiactl", "nvidia-uvm")]
    # To open a card wakes it, or hangs with it.
    return (*controls, *(node(root / "dev" / one, f"/dev/{one}", opens=False) for one in found))


def toolkits(root: Path) -> Iterator[Toolkit]:
    """Under /usr/local, each once however many links lead to it."""
    top = root / "usr/local"
    whole: dict[str, list[str]] = {}
    for name in names(top):
        if not _TOOLKIT.fullmatch(name):
            continue
        place = top / name
        shown = f"/usr/local/{name}"
        if not os.path.exists(place):  # noqa: PTH110 (never raises)
            yield Toolkit(shown, trouble=f"it is a link to {os.readlink(place)}, which is not there")  # noqa: PTH115
        elif not os.path.isdir(place):  # noqa: PTH112 (never raises)
            yield Toolkit(shown, trouble="it is no folder")
        else:
            whole.setdefault(os.path.realpath(place), []).append(shown)
    for real, ways in whole.items():
        best = max(ways, key=len)
        yield Toolkit(best, version(Path(real)), tuple(one for one in ways if one != best))


def version(home: Path) -> str:
    """Of a CUDA toolkit: by its own files, else by its compiler; "" where neither tells."""
    told = (read_json(home / "version.json") or {}).get("cuda")
    if isinstance(told, dict) and told.get("version"):
        return str(told["version"])
    if words := text(home / "version.txt").split():
        return words[-1]
    if not os.access(home / "bin/nvcc", os.X_OK):
        return ""
    try:
        said = run([str(home / "bin/nvcc"), "--version"], env={"PATH": os.defpath}, timeout=NVCC_TIMEOUT).stdout
    except CommandFailed:
        return ""
    found = _RELEASE.search(said)
    return found[1] if found else ""


def _shm(place: Path) -> tuple[int, int] | None:
    try:
        seen = os.statvfs(place)
    except OSError:
        return None
    return seen.f_blocks * seen.f_frsize, seen.f_bavail * seen.f_frsize
