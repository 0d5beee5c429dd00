"""A clock that jumps while orch runs: a shim, compiled by gcc, between it and the kernel's."""

import shutil

from fakes.cuda import compile_library

from chaos.mounts import Missing
from chaos.scene import Scene

JUMPS = (-1000, 3600, 86_400, 10 * 365 * 86_400)  # seconds
SHIM = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, id, now);
    const char *file = getenv("CHAOS_CLOCK");
    FILE *stream = failed || id != CLOCK_REALTIME || !file ? NULL : fopen(file, "r");
    long seconds = 0;
    if (stream && fscanf(stream, "%ld", &seconds) == 1) now->tv_sec += seconds;
    if (stream) fclose(stream);
    return failed;
}
"""


class Clock:
    """Of every command that the scene runs from now on. Raises Missing."""

    def __init__(self, scene: Scene) -> None:
        if not shutil.which("gcc"):
            raise Missing("a clock that jumps takes gcc")
        library = scene.workshop.folder / "clock" / f"{scene.seed}.so"
        compile_library(library, SHIM)
        self._scene, self._file = scene, scene.sandbox.home / "clock"
        scene.env |= {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(self._file)}

    def jump(self) -> None:
        """To another time, however far from the last."""
        seconds = self._scene.random.choice([-1, 1]) * self._scene.random.choice(JUMPS)
        fresh = self._file.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.replace(self._file)
        self._scene.tell(f"the clock is {seconds} s off")
