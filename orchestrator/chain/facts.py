"""What is known of a machine and of one environment on it, and what is said of each link. Sizes in bytes, times in
seconds since the epoch. An empty ``trouble`` means that there is none."""

from dataclasses import dataclass
from typing import Literal

from orchestrator.model import Inventory, Laid, Mend, RuntimeInfo, RuntimeSpec, RuntimeState

Status = Literal["good", "warning", "bad", "not checked", "not needed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``do`` is the one next step; ``fixable``: `orch doctor --fix` takes it."""

    link: str
    status: Status
    found: str
    where: str = ""
    do: str = ""
    fixable: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """A device node that must open for reading and writing. ``mode`` in octal ("0660")."""

    path: str
    trouble: str = ""
    group: str = ""
    mode: str = ""
    there: bool = True


@dataclass(frozen=True, slots=True)
class Toolkit:
    """A CUDA toolkit; ``also`` are links that lead to it. ``version`` is "" where nothing tells."""

    path: str
    version: str = ""
    also: tuple[str, ...] = ()
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Folder:
    """One to be written to, now or once it is made. ``disk`` says on which: "/data (ext4)"."""

    purpose: str
    path: str
    trouble: str = ""
    free: int | None = None
    disk: str = ""


@dataclass(frozen=True, slots=True)
class Smi:
    """What the command nvidia-smi says. ``path`` is "" where there is none; ``hangs``: it did not end by itself."""

    path: str = ""
    driver: str = ""
    trouble: str = ""
    hangs: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """``cards`` counts NVIDIA's on the PCI bus, ``kernel`` is the version of the loaded driver module. ``inventory`` is
    None where there is no NVML. ``nofile`` (soft, hard), -1 for no limit; ``shm`` (size, free) of /dev/shm."""

    cards: int = 0
    wsl: bool = False
    container: bool = False
    user: str = ""
    kernel: str = ""
    smi: Smi = Smi()
    inventory: Inventory | None = None
    nodes: tuple[Node, ...] = ()
    toolkits: tuple[Toolkit, ...] = ()
    nofile: tuple[int, int] | None = None
    shm: tuple[int, int] | None = None
    now: float = 0.0
    folders: tuple[Folder, ...] = ()

    @property
    def gpu(self) -> bool:
        """Whether anything at all tells of an NVIDIA GPU."""
        seen = self.inventory is not None and bool(self.inventory.gpus)
        nodes = not self.wsl and any(node.there for node in self.nodes)  # WSL has its own on any machine
        talks = self.smi.hangs or (self.wsl and self.smi.path)  # one without a driver says so, and ends
        return bool(self.cards or self.kernel or seen or nodes or talks)


@dataclass(frozen=True, slots=True)
class Trial:
    """A test that was really carried out: ``what`` was tried, and ``why`` it failed, in its own words. ``passed`` None:
    it could not be carried out."""

    passed: bool | None
    what: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Home:
    """A CUDA_HOME: ``says`` names who set it. ``lacks`` lists what a well-formed one has and this one has not."""

    path: str
    says: str
    exists: bool = True
    lacks: tuple[str, ...] = ()
    version: str = ""


@dataclass(frozen=True, slots=True)
class Tools:
    """Paths of what compiles kernels at run time, as the engine's PATH finds them; "" for what is not there.
    ``headers``: the folder in which the runtime's Python has its Python.h, "" when it has none, None when not asked."""

    nvcc: str = ""
    ninja: str = ""
    compiler: str = ""
    headers: str | None = None


@dataclass(frozen=True, slots=True)
class Torch:
    """What the runtime's own torch answers. ``cuda`` is the one it was built with, "" for none; ``why`` CUDA is not
    available, or torch cannot be imported, in its own words."""

    version: str = ""
    cuda: str = ""
    available: bool = False
    devices: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A folder in LD_LIBRARY_PATH; ``shadows`` are the names of torch's own libraries that are in it, too."""

    folder: str
    exists: bool = True
    shadows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Engine:
    """One environment and its runtime. ``device`` is as RuntimeInfo has it. ``candidates`` are the libraries that may
    be the driver's, best first, ``rejected`` the others, each with the reason. ``load`` None: not tried, ``untested``
    says why; ``links`` are the tests of all that links at run time. ``mend`` is what orch can do about it, ``refused``
    why it cannot. ``torch`` and ``activation`` are None when there was none to ask. ``path`` is LD_LIBRARY_PATH as the
    files have it, and ``path_says`` which. ``newest`` is when something was last installed."""

    name: str
    runtime: RuntimeSpec
    state: RuntimeState
    file: str = ""
    device: str = ""
    libcuda: str = "auto"
    candidates: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    load: Trial | None = None
    links: tuple[Trial, ...] = ()
    untested: str = ""
    laid: Laid | None = None
    mend: Mend | None = None
    refused: str = ""
    home: Home | None = None
    tools: Tools = Tools()
    torch: Torch | None = None
    triton: str = ""
    triton_looks: str = ""
    activation: Trial | None = None
    path: tuple[Entry, ...] = ()
    path_says: str = ""
    cache: Folder | None = None
    newest: float = 0.0

    @property
    def info(self) -> RuntimeInfo | None:
        return self.state.info
