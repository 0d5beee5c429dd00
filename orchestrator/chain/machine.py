"""The links that a machine has once, whatever runs on it. Each takes the facts and yields what is to be said."""

from collections.abc import Iterator
from datetime import UTC, datetime

from orchestrator.chain.facts import Finding, Machine, Node, Toolkit
from orchestrator.model import Gpu
from orchestrator.units import format_memory, format_size

NO_GPU = "there is no NVIDIA GPU on this machine"
XID = "look for `Xid` in `sudo dmesg`, then restart the machine"
GIB = 1 << 30
NOFILE_ENGINE = 65535  # vLLM raises the soft limit to this by itself, where the hard one lets it
NOFILE_LOW = 4096
SHM_LOW = GIB
FREE_LOW = 1_000_000_000
DAY = 86400.0
EARLIEST = 1_735_689_600.0  # 2025-01-01: no clock of a machine that runs this can be before it
LATEST = EARLIEST + 30 * 365 * DAY


def driver(machine: Machine) -> Iterator[Finding]:
    name, seen = "driver", machine.inventory
    if not machine.gpu:
        yield Finding(name, "not checked", f"{NO_GPU}; NVML says: {seen.why}" if seen and seen.why else NO_GPU)
    elif machine.smi.hangs:
        yield Finding(name, "bad", f"nvidia-smi hangs: {machine.smi.trouble}", machine.smi.path, XID)
    elif mismatch := _mismatch(machine):
        do = "restart the machine: the driver was updated, and its old module is still loaded"
        yield Finding(name, "bad", mismatch, "/proc/driver/nvidia/version", do)
    elif not machine.kernel and not machine.wsl and not (seen and seen.gpus):
        yield _no_module(machine)
    elif seen is None:
        yield Finding(name, "bad", "there is no NVML (libnvidia-ml.so.1), a part of the driver", do=_libraries(machine))
    elif seen.why:
        yield Finding(name, "bad", f"NVML does not answer: {seen.why}", do=seen.do or XID)
    elif machine.smi.trouble:
        found = f"{seen.driver}; nvidia-smi does not work: {machine.smi.trouble}"
        yield Finding(name, "warning", found, machine.smi.path, "install the driver's tools again")
    else:
        yield Finding(name, "good", f"{seen.driver or machine.kernel}, runs CUDA up to {seen.cuda or '?'}")


def _mismatch(machine: Machine) -> str:
    seen = machine.inventory
    for words in (machine.smi.trouble, seen.why if seen else ""):
        if "mismatch" in words.lower():
            loaded = f"; the loaded module is {machine.kernel}" if machine.kernel else ""
            return f"the driver's library and its kernel module differ: {words}{loaded}"
    library = seen.driver if seen else ""
    if machine.kernel and library and machine.kernel != library:
        return f"the driver's library is {library} and the loaded module is {machine.kernel}"
    return ""


def _no_module(machine: Machine) -> Finding:
    cards = f"{machine.cards} NVIDIA {'card' if machine.cards == 1 else 'cards'} here, and "
    found = f"{cards if machine.cards else ''}the driver's kernel module is not loaded"
    if machine.container:
        do = "start the container with the GPUs: `--gpus all`, with nvidia-container-toolkit on its host"
    elif machine.smi.path:
        do = "`sudo modprobe nvidia`; with Secure Boot the module must be signed"
    else:
        do = "install NVIDIA's driver (a package of your distribution), then restart the machine"
    return Finding("driver", "bad", found, "/proc/driver/nvidia/version", do)


def _libraries(machine: Machine) -> str:
    if machine.container:
        return "start the container with NVIDIA_DRIVER_CAPABILITIES=compute,utility"
    return "install the driver's libraries, of the same version as its module"


def device_nodes(machine: Machine) -> Iterator[Finding]:
    name = "device nodes"
    if not machine.gpu:
        yield Finding(name, "not checked", NO_GPU)
        return
    if not machine.kernel and not machine.wsl and not any(node.there for node in machine.nodes):
        yield Finding(name, "not checked", "there are none: no driver made them")
        return
    broken = [node for node in machine.nodes if node.trouble]
    for node in broken:
        yield Finding(name, "bad", f"{node.trouble}{_rights(node)}", node.path, _node_cure(node, machine))
    if not broken:
        yield Finding(name, "good", f"{', '.join(node.path for node in machine.nodes)} can be opened")


def _rights(node: Node) -> str:
    return f" (group {node.group}, {node.mode})" if node.group else ""


def _node_cure(node: Node, machine: Machine) -> str:
    if machine.container:
        return "start the container with the GPUs: `--gpus all`, with nvidia-container-toolkit on its host"
    if not node.there:
        return (
            "`wsl --shutdown`, and update Windows' driver" if machine.wsl else "`sudo nvidia-modprobe -u -c=0` makes it"
        )
    if node.group and node.group != "root":
        return f"`sudo usermod -aG {node.group} {machine.user or 'USER'}`, then log in again"
    return "let all users open it: NVreg_DeviceFileMode=0666 for the module nvidia in /etc/modprobe.d"


def cards(machine: Machine) -> Iterator[Finding]:
    name, seen = "GPUs", machine.inventory
    if not machine.gpu:
        yield Finding(name, "not checked", NO_GPU)
        return
    if seen is None or seen.why:
        yield Finding(name, "not checked", "NVML does not answer")
        return
    troubles = [one for gpu in seen.gpus for one in _troubles(gpu)]
    yield from troubles
    if not seen.gpus:
        yield Finding(name, "bad", "the driver shows no GPU", do=XID)
    elif not troubles:
        kinds = [f"{gpu.name} with {format_memory(gpu.total)}" for gpu in seen.gpus]
        yield Finding(name, "good", ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds)))


def _troubles(gpu: Gpu) -> Iterator[Finding]:
    name, card, default = "GPUs", f"GPU {gpu.index}", f"`sudo nvidia-smi -i {gpu.index} -c DEFAULT`"
    if gpu.trouble:
        yield Finding(name, "bad", f"{card} {gpu.trouble}", do=XID)
    if gpu.mode == "prohibited":
        yield Finding(name, "bad", f"{card} lets no process in, by its compute mode", do=default)
    if gpu.mode == "exclusive":
        found = f"{card} lets one process in, by its compute mode, and an engine has several"
        yield Finding(name, "warning", found, do=default)
    if gpu.mig:
        parts = f"{len(gpu.parts)} {'part' if len(gpu.parts) == 1 else 'parts'}"
        do = f"name a part in `gpus:` of the profile, or `sudo nvidia-smi -i {gpu.index} -mig 0` for the whole"
        yield Finding(name, "warning", f"{card} is divided (MIG) into {parts}, and no engine sees it whole", do=do)


def peers(machine: Machine) -> Iterator[Finding]:
    name, seen = "IOMMU and ACS", machine.inventory
    if not machine.gpu:
        yield Finding(name, "not checked", NO_GPU)
    elif seen is None or seen.why:
        yield Finding(name, "not checked", "NVML does not answer")
    elif len(seen.gpus) < 2:
        yield Finding(name, "not needed", "there is one GPU")
    elif seen.peers_blocked:
        found = f"{seen.peers_blocked}: tensor parallel over PCIe may hang"
        do = 'switch both off in the firmware, or boot with `iommu=off`, or put NCCL_P2P_DISABLE: "1" into `env:`'
        yield Finding(name, "warning", found, do=do)
    else:
        yield Finding(name, "good", "nothing stands between the cards")


def toolkits(machine: Machine) -> Iterator[Finding]:
    name = "CUDA toolkits"
    for one in machine.toolkits:
        if one.trouble:
            yield Finding(name, "warning", one.trouble, one.path, "remove it, or install the toolkit again")
    whole = [_toolkit(one) for one in machine.toolkits if not one.trouble]
    if whole:
        yield Finding(name, "good", ", ".join(whole))
    elif not machine.toolkits:
        yield Finding(name, "good", "none under /usr/local: the runtime brings its own CUDA, without a compiler")


def _toolkit(one: Toolkit) -> str:
    also = f" (also {', '.join(one.also)})" if one.also else ""
    return f"{one.version or 'of unknown version'} in {one.path}{also}"


def open_files(machine: Machine) -> Iterator[Finding]:
    name = "open files"
    if machine.nofile is None:
        yield Finding(name, "not checked", "the limit cannot be read")
        return
    soft, hard = (limit if limit >= 0 else 1 << 60 for limit in machine.nofile)
    words = f"limit {_limit(machine.nofile[0])}, up to {_limit(machine.nofile[1])}"
    if hard < NOFILE_ENGINE and soft < NOFILE_LOW:
        do = "`ulimit -n 65535` before orch, or raise nofile in /etc/security/limits.conf"
        yield Finding(name, "warning", f"{words}: every request takes some", do=do)
    else:
        yield Finding(name, "good", words)


def _limit(number: int) -> str:
    return "unlimited" if number < 0 else str(number)


def shared_memory(machine: Machine) -> Iterator[Finding]:
    name, where = "shared memory", "/dev/shm"
    do = "`sudo mount -o remount,size=8G /dev/shm`, and the same in /etc/fstab"
    if machine.container:
        do = "start the container with `--shm-size 8g`, or `--ipc host`"
    if machine.shm is None:
        yield Finding(name, "warning", "it is not there: engines with several processes need it", where, do)
        return
    size, free = machine.shm
    if size < SHM_LOW:
        yield Finding(name, "warning", f"{format_memory(size)}: tensor parallel needs some GiB", where, do)
    elif free < SHM_LOW:
        found = f"{format_memory(free)} of {format_memory(size)} free: tensor parallel needs some GiB"
        yield Finding(name, "warning", found, where, "delete what ended programs left there: `ls -l /dev/shm`")
    else:
        yield Finding(name, "good", f"{format_memory(size)}, {format_memory(free)} free", where)


def clock(machine: Machine, newest: float = 0.0) -> Iterator[Finding]:
    """``newest``: the time of the newest file of any runtime looked at; a file of tomorrow tells of a late clock."""
    name, do = "clock", "set it: `sudo timedatectl set-ntp true`"
    if machine.now < EARLIEST or machine.now > LATEST:
        found = f"it says {_date(machine.now)}, which cannot be: certificates will be refused"
        yield Finding(name, "bad", found, do=do)
    elif newest > machine.now + DAY:
        found = f"it says {_date(machine.now)}, and the runtime's newest file is of {_date(newest)}"
        yield Finding(name, "warning", f"{found}: certificates may be refused", do=do)
    else:
        yield Finding(name, "good", "plausible")


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(min(max(seconds, 0.0), 10 * LATEST), UTC).date().isoformat()


def folders(machine: Machine) -> Iterator[Finding]:
    for folder in machine.folders:
        name = f"orch's {folder.purpose}"
        variable = f"ORCH_{folder.purpose.upper()}_DIR"
        if folder.trouble:
            do = f"make it yours, or name another in {variable}"
            yield Finding(name, "bad", f"cannot be written: {folder.trouble}", folder.path, do)
        elif folder.free is not None and folder.free < FREE_LOW:
            do = f"make room, or name another folder in {variable}"
            yield Finding(name, "warning", f"only {format_size(folder.free)} free on {folder.disk}", folder.path, do)
        else:
            yield Finding(name, "good", "writable", folder.path)
