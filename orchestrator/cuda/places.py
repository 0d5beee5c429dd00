"""Where a driver's library can be on a host, as data: what is looked at, never what is there.

Everything below ``root`` can be a tree of folders that a test made; what `ldconfig` lists is taken as it says it.
"""

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

LDCONFIGS = ("/sbin/ldconfig", "/usr/sbin/ldconfig", "/run/current-system/sw/bin/ldconfig")
"""Triton knows the first alone."""

# In the order of preference, behind what `ldconfig` lists: that is what the loader takes.
FOLDERS = (
    ("usr/lib/{triplet}", "the folder of Debian and Ubuntu"),
    ("usr/lib64", "the folder of RHEL"),
    ("usr/lib", "a folder of the system"),
    ("usr/lib/wsl/lib", "the folder of WSL2"),
    ("run/opengl-driver/lib", "the folder of NixOS"),
    ("usr/local/nvidia/lib64", "the folder of a container"),
    ("usr/local/nvidia/lib", "the folder of a container"),
    (".singularity.d/libs", "the folder of Singularity"),
    ("usr/lib64-nvidia", "the folder of a hosted notebook"),
    ("usr/lib/{triplet}/nvidia/current", "the folder of Debian's alternatives"),
    ("usr/lib/{triplet}/tegra", "the folder of a Jetson"),
    ("usr/lib/{triplet}/nvidia", "the folder of a Jetson"),
)
COMPAT = ("usr/local/cuda/compat", "the toolkit's forward compatibility")
"""Last of all: it serves data center cards alone, and only a driver that is older than it."""

LINKED_FROM = ("lib/{triplet}", "lib64", "lib", "usr/local/lib", "usr/local/lib64")
"""Where a linker looks besides; what is put there changes what a test of linking says."""


@dataclass(frozen=True, slots=True)
class Places:
    """``cache`` is ldconfig's cache file, None for the usual one; ``given`` the library that the environment file
    names; ``variables`` those of the engine, of which LD_LIBRARY_PATH and CONDA_PREFIX matter. ``not_in`` is a folder
    whose content is orch's own and no find."""

    root: Path = Path("/")
    cache: Path | None = None
    ldconfigs: tuple[str, ...] = LDCONFIGS
    machine: str = field(default_factory=platform.machine)
    variables: Mapping[str, str] = field(default_factory=dict)
    given: str = ""
    not_in: str = ""

    @property
    def cache_file(self) -> Path:
        return self.cache or self.root / "etc/ld.so.cache"

    @property
    def ldconfig(self) -> str | None:
        return next((one for one in self.ldconfigs if os.access(one, os.X_OK)), None)

    def folders(self) -> Iterator[tuple[Path, str]]:
        """Each with its name for a person, best first."""
        yield from ((self._at(folder), name) for folder, name in FOLDERS)
        yield from ((Path(folder), "LD_LIBRARY_PATH") for folder in self._entries("LD_LIBRARY_PATH"))
        if prefix := self.variables.get("CONDA_PREFIX"):
            yield Path(prefix, "lib"), "the conda environment"
        yield self._at(COMPAT[0]), COMPAT[1]

    def watched(self) -> Iterator[Path]:
        """Every folder in which a libcuda that comes or goes may change what is found, or what a test says."""
        yield from (folder for folder, _ in self.folders())
        yield from (self._at(folder) for folder in LINKED_FROM)
        for name in ("LIBRARY_PATH", "TRITON_LIBCUDA_PATH"):
            yield from (Path(folder) for folder in self._entries(name))
        if home := self.variables.get("CUDA_HOME") or self.variables.get("CUDA_PATH"):
            yield from (Path(home, "lib64"), Path(home, "lib64/stubs"))

    def _at(self, folder: str) -> Path:
        return self.root / folder.format(triplet=f"{self.machine}-linux-gnu")

    def _entries(self, name: str) -> list[str]:
        return [entry for entry in self.variables.get(name, "").split(":") if entry]
