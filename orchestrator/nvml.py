"""The host's GPUs through NVML, the driver's own library. Read-only, and asked in a child: a driver that hangs or
crashes must not take orch along.

Nothing is imported and nothing asked where there is no such library. A call that a driver or a card does not know
leaves its field empty; one that fails because the card is gone says so of that card and leaves the others unharmed.
"""

import ctypes
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator import proc
from orchestrator.aside import Aside
from orchestrator.environ import MARK, read_marker
from orchestrator.iommu import peers_blocked
from orchestrator.model import Gpu, GpuDistance, GpuLink, GpuProcess, Inventory
from orchestrator.short_command import short_command

if TYPE_CHECKING:
    import psutil

LIBRARY = "libnvidia-ml.so.1"
PATIENCE = 20.0  # seconds; without persistence mode the first answer of eight cards takes some
T = TypeVar("T")
Handle = Any  # a pointer of ctypes, which means something to NVML alone

_INIT = {
    "NVML_ERROR_LIB_RM_VERSION_MISMATCH": (
        "the driver's libraries were updated and the kernel still runs the old driver",
        "reboot, or reload the module nvidia when no process uses a GPU",
    ),
    "NVML_ERROR_DRIVER_NOT_LOADED": (
        "the NVIDIA driver is installed and its kernel module is not loaded",
        "run `sudo modprobe nvidia`; `sudo dmesg` says why it does not load",
    ),
    "NVML_ERROR_NO_PERMISSION": (
        "this user may not open the NVIDIA devices",
        "see `ls -l /dev/nvidia*`, and ask for access or for its group",
    ),
}  # fmt: skip
_TROUBLE = {
    "NVML_ERROR_GPU_IS_LOST": "has fallen off the bus (`sudo dmesg` shows its Xid; a reboot may bring it back)",
    "NVML_ERROR_RESET_REQUIRED": "needs a reset (`sudo nvidia-smi --gpu-reset`, or a reboot)",
    "NVML_ERROR_NO_PERMISSION": "may not be used by this user (see `ls -l /dev/nvidia*`)",
}


class Nvml:
    def __init__(
        self,
        peers_blocked: Callable[[], str] = peers_blocked,
        patience: float = PATIENCE,
        folders: Sequence[Path] = (),
    ) -> None:
        """``patience`` in seconds: a driver that has not answered by then hangs. ``folders`` are looked through where
        the loader finds no library."""
        self._peers_blocked, self._patience = peers_blocked, patience
        self._aside = Aside(partial(_inventory, folders), patience)

    def inventory(self) -> Inventory | None:
        """None: there is no such library here. One that cannot be used is an inventory that says why."""
        try:
            found = self._aside.ask()
        except TimeoutError:
            why = f"the NVIDIA driver hangs: NVML gave no answer within {self._patience:g} s"
            return Inventory(why=why, do="look for `Xid` in `sudo dmesg`, then restart the machine")
        except ChildProcessError as error:
            return Inventory(why=f"the driver's library crashed ({error})", do="see what `nvidia-smi` says")
        return replace(found, peers_blocked=self._peers_blocked()) if found and len(found.gpus) > 1 else found


def _inventory(folders: Sequence[Path]) -> Inventory | None:
    try:
        ctypes.CDLL(LIBRARY)
    except OSError as error:
        if not _load_from(folders):
            return _unloadable(str(error))
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        why, do = _meaning(error, _INIT) or (f"NVML does not start: {error}", "see what `nvidia-smi` says")
        return Inventory(why=why, do=do)
    try:
        return _look()
    except pynvml.NVMLError as error:
        return Inventory(why=f"NVML does not list the GPUs: {error}", do="see what `nvidia-smi` says")
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _load_from(folders: Sequence[Path]) -> bool:
    """What is loaded once, from wherever, is what everybody after that gets by its name."""
    for folder in folders:
        with suppress(OSError):
            ctypes.CDLL(str(folder / LIBRARY))
            return True
    return False


def _look() -> Inventory:
    import pynvml

    found = [_card(index) for index in range(pynvml.nvmlDeviceGetCount())]
    handles = {gpu.index: handle for gpu, handle in found if handle is not None}
    return Inventory(
        gpus=tuple(gpu for gpu, _ in found),
        links=tuple(_links(handles)),
        driver=_ask(pynvml.nvmlSystemGetDriverVersion) or "",
        cuda=_cuda(_ask(pynvml.nvmlSystemGetCudaDriverVersion)),
    )


def _unloadable(error: str) -> Inventory | None:
    if LIBRARY in error and "No such file" in error:
        return None
    return Inventory(why=f"the driver's library cannot be loaded: {error}", do="install the driver anew")


def _meaning(error: Any, known: Mapping[str, T]) -> T | None:
    """What is known of it, by the names that NVML has for errors."""
    import pynvml

    return next((words for name, words in known.items() if getattr(pynvml, name) == error.value), None)


def _ask(call: Callable[..., Any], *args: object) -> Any:
    """The answer, or None where there is none. A card that is gone is an error all the same."""
    import pynvml

    try:
        return call(*args)
    except pynvml.NVMLLibraryMismatchError:  # pynvml's word for a call that this driver is too old to know
        return None
    except pynvml.NVMLError as error:
        if error.value in (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED):
            raise
        return None


# -------------------------------------------------------------------------------------------------------- one card


def _card(index: int) -> tuple[Gpu, Handle]:
    import pynvml

    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        return _gpu(index, handle), handle
    except pynvml.NVMLError as error:
        trouble = _meaning(error, _TROUBLE) or f"does not answer: {error}"
        return Gpu(index, "", trouble=trouble), None


def _gpu(index: int, handle: Handle) -> Gpu:
    import pynvml

    uuid = pynvml.nvmlDeviceGetUUID(handle)  # without it nothing could be placed here
    memory = _ask(pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2)
    if memory is None:  # before driver 510; what it reserves is part of what it says is used
        memory = _ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
    utilization = _ask(pynvml.nvmlDeviceGetUtilizationRates, handle)
    capability = _ask(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    mig = bool((_ask(pynvml.nvmlDeviceGetMigMode, handle) or [0])[0])
    parts = _parts(handle) if mig else {}
    return Gpu(
        index,
        uuid,
        name=_ask(pynvml.nvmlDeviceGetName, handle) or "",
        total=memory.total if memory else 0,
        reserved=getattr(memory, "reserved", 0),
        used=memory.used if memory else 0,
        utilization=utilization.gpu if utilization else None,
        temperature=_ask(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        capability="{}.{}".format(*capability) if capability else "",
        pci=_address(_ask(pynvml.nvmlDeviceGetPciInfo, handle)),
        mode=_MODES.get(_ask(pynvml.nvmlDeviceGetComputeMode, handle), "default"),
        mig=mig,
        parts=tuple(parts),
        processes=_processes([handle, *parts.values()]),
    )


_MODES: Mapping[int | None, Any] = {1: "exclusive", 2: "prohibited", 3: "exclusive"}  # NVML_COMPUTEMODE_*


def _address(pci: Any) -> str:
    """As /sys and lspci have it: ``"0000:01:00.0"``."""
    return f"{pci.domain:04x}:{pci.bus:02x}:{pci.device:02x}.0" if pci else ""


def _cuda(number: int | None) -> str:
    """12040 is "12.4"."""
    return f"{number // 1000}.{number % 1000 // 10}" if number else ""


def _parts(handle: Handle) -> dict[str, Handle]:
    """Its MIG devices, by UUID."""
    import pynvml

    places = range(_ask(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0)
    found = [_ask(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, place) for place in places]
    return {uuid: part for part in found if part and (uuid := _ask(pynvml.nvmlDeviceGetUUID, part))}


# ------------------------------------------------------------------------------------------------------- processes


def _processes(handles: Iterable[Handle]) -> tuple[GpuProcess, ...]:
    """One that computes and draws, or that a card and its MIG device both list, has its memory once."""
    import pynvml

    calls = (
        (pynvml.nvmlDeviceGetComputeRunningProcesses_v3, pynvml.nvmlDeviceGetComputeRunningProcesses_v2),
        (pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3, pynvml.nvmlDeviceGetGraphicsRunningProcesses_v2),
        (pynvml.nvmlDeviceGetMPSComputeRunningProcesses_v3, pynvml.nvmlDeviceGetMPSComputeRunningProcesses_v2),
    )
    memory: dict[int, int | None] = {}
    for handle in handles:
        for new, old in calls:
            rows = _ask(new, handle)
            for row in (_ask(old, handle) or ()) if rows is None else rows:
                told = [one for one in (memory.get(row.pid), row.usedGpuMemory) if one is not None]
                memory[row.pid] = max(told, default=None)
    return tuple(_process(pid, memory[pid]) for pid in sorted(memory))


def _process(pid: int, memory: int | None) -> GpuProcess:
    import psutil

    try:
        process = psutil.Process(pid)
    except psutil.Error:
        return GpuProcess(pid, memory)
    return GpuProcess(
        pid, memory, _seen(process.username), _command(process), read_marker(proc.environ(pid).get(MARK, ""))
    )


def _seen(read: Callable[[], str]) -> str:
    import psutil

    try:
        return read()
    except (psutil.Error, OSError):  # it left, or is another user's on a host that hides those
        return ""


def _command(process: "psutil.Process") -> str:
    return _seen(lambda: short_command(process.cmdline()) or process.name())


# ----------------------------------------------------------------------------------------------------------- links


def _links(handles: Mapping[int, Handle]) -> Iterable[GpuLink]:
    for a, b in combinations(sorted(handles), 2):
        if distance := _distance(handles[a], handles[b]):
            yield GpuLink(a, b, distance)


def _distance(one: Handle, other: Handle) -> GpuDistance | None:
    import pynvml

    with suppress(pynvml.NVMLError):  # a card that was lost since it was looked at
        if _ask(pynvml.nvmlDeviceGetP2PStatus, one, other, pynvml.NVML_P2P_CAPS_INDEX_NVLINK) == _P2P_OK:
            return "nvlink"
        level = _ask(pynvml.nvmlDeviceGetTopologyCommonAncestor, one, other)
        return None if level is None else next((words for step, words in _LEVELS if level <= step), "system")
    return None


_P2P_OK = 0  # NVML_P2P_STATUS_OK
_LEVELS: Sequence[tuple[int, GpuDistance]] = ((20, "switch"), (30, "bridge"), (40, "node"))  # NVML_TOPOLOGY_*
