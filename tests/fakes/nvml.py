"""A host with NVIDIA cards, as NVML shows it: a library compiled from ``nvml.c``, and the file that it reads."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml.c")
LIBRARY = "libnvidia-ml.so.1"
MIB = 1 << 20

# What NVML's calls return, by the names that nvml.h has for it (NVML_ERROR_*).
NOT_SUPPORTED, NO_PERMISSION, DRIVER_NOT_LOADED, FUNCTION_NOT_FOUND = 3, 4, 9, 13
HANG, CRASH = -2, -3  # no codes of NVML's: what the stand-in's nvmlInit does instead of returning
GPU_IS_LOST, RESET_REQUIRED, VERSION_MISMATCH, UNKNOWN = 15, 16, 18, 999


def build_library(folder: Path) -> Path:
    """The folder that LD_LIBRARY_PATH has to name. ``gcc`` must be there."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", f"-Wl,-soname,{LIBRARY}"]
    subprocess.run(["gcc", *flags, "-o", str(folder / LIBRARY), str(SOURCE)], check=True)
    return folder


def uuid(gpu: int) -> str:
    """Of a card that was not given another."""
    return f"GPU-{0xADA00000 + gpu:08x}-0000-4000-8000-{gpu:012x}"


@dataclass(frozen=True, slots=True)
class Nvml:
    """Four idle cards until told otherwise; every method holds from the next question for memory on, in whichever
    process. ``gpu`` None means all of them. The lines of ``script`` are explained in nvml.c."""

    folder: Path
    script: Path

    @property
    def env(self) -> dict[str, str]:
        """What a command needs to see these cards: ``sandbox.env |= nvml.env``."""
        return {"LD_LIBRARY_PATH": str(self.folder), "FAKE_NVML": str(self.script)}

    def add(self, *lines: str) -> None:
        with self.script.open("a") as script:
            script.write("".join(f"{line}\n" for line in lines))

    def gpus(self, count: int) -> None:
        self.add(f"gpus {count}")

    def gpu(self, gpu: int | None = None, **keys: object) -> None:
        """name, uuid, total, reserved, used (MiB), util, temp, capability, mode (0, 1, 2, 3), mig (0 or 1); None is
        what the driver does not tell."""
        self.add(*(f"gpu {_gpu(gpu)} {key} {_told(value)}" for key, value in keys.items()))

    def part(self, gpu: int, uuid: str) -> None:
        """A MIG device."""
        self.add(f"gpu {gpu} mig 1", f"part {gpu} {uuid}")

    def nvlink(self, a: int, b: int) -> None:
        self.add(f"link {a} {b} nvlink")

    def link(self, a: int, b: int, level: int) -> None:
        """NVML_TOPOLOGY_*: 10 and 20 are switches, 30 the host bridge, 40 a NUMA node, 50 the system."""
        self.add(f"link {a} {b} {level}")

    def links(self, level: int) -> None:
        """Of every pair that was not told otherwise."""
        self.add(f"links {level}")

    def process(
        self, gpu: int, pid: int, mib: int | None, *, sticky: bool = False, lag: int = 0, kind: str = ""
    ) -> None:
        """It holds this much while it lives; for good when ``sticky``. Its memory stays in use until ``lag``
        milliseconds after its death was first seen. ``kind``: "graphics" or "mps", else it computes."""
        words = ["process", gpu, pid, _told(mib), *(["sticky"] if sticky else []), *(["lag", lag] if lag else []), kind]
        self.add(" ".join(str(word) for word in words).rstrip())

    def forget(self, pid: int) -> None:
        """Its lines are gone: it gave all back, be it alive."""
        rows = [line.split() for line in self.script.read_text().splitlines()]
        kept = [" ".join(words) for words in rows if (words[0], words[2:3]) != ("process", [str(pid)])]
        fresh = self.script.with_suffix(".new")
        fresh.write_text("".join(f"{line}\n" for line in kept))
        fresh.replace(self.script)

    def fail(self, call: str, code: int, gpu: int | None = None) -> None:
        """Code 0 ends it."""
        self.add(f"fail {call} {_gpu(gpu)} {code}")

    def init(self, code: int) -> None:
        """What nvmlInit returns; 0 ends it."""
        self.add(f"init {code}")

    def lose(self, gpu: int) -> None:
        """It falls off the bus."""
        self.fail("nvmlDeviceGetHandleByIndex_v2", GPU_IS_LOST, gpu)

    @property
    def shutdowns(self) -> int:
        """How often a process was done with NVML in good order."""
        mark = Path(f"{self.script}.shutdown")
        return mark.stat().st_size if mark.exists() else 0


def _gpu(gpu: int | None) -> str:
    return "*" if gpu is None else str(gpu)


def _told(value: object) -> object:
    return "-" if value is None else value
