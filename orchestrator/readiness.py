"""Waiting for a start: readiness, death and the deadline, watched together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from orchestrator.diagnosis.progress import progress_text
from orchestrator.engines import vllm
from orchestrator.errors import Yielded
from orchestrator.model import Deployment, Exit, Instance
from orchestrator.observe import token
from orchestrator.ports import Asker, World
from orchestrator.startup import Startup
from orchestrator.units import format_duration

PROBE_EVERY = 0.2  # seconds


@dataclass(frozen=True, slots=True)
class Failed:
    """``why`` in a few words; ``exit`` None: it lives on, and was not ready in time."""

    why: str
    exit: Exit | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """``began`` in monotonic seconds, ``allowed`` in seconds from then on. ``earlier`` are seconds of each stage of
    earlier starts, ``size`` the bytes of its weights, 0 where these are not known."""

    began: float
    allowed: float
    earlier: Sequence[Mapping[str, float]] = ()
    size: float = 0.0


def until_ready(
    wanted: Deployment, instance: Instance, startup: Startup, expected: Expected, world: World
) -> Failed | None:
    """None once it is ready. Raises KeyboardInterrupt, and Yielded when somebody has a better reason to work on it."""
    names, key = wanted.served_names, token(world, wanted.secret_refs)
    while True:
        world.interrupts.check()
        _let_others_go_first(wanted.name, world)
        answer = world.prober.ask(vllm.endpoint(wanted.spec), names, key)
        # Asked after the answer: only then was it this engine that gave it, and not one that died meanwhile.
        ended = world.target.wait(instance, 0 if answer.ready else PROBE_EVERY)
        progress = startup.look(last=ended is not None)
        if ended is not None:
            return Failed(f"its API server {ended} before it was ready", ended)
        if answer.ready:
            return None
        if world.clock.monotonic() > expected.began + expected.allowed:
            return Failed(f"it was not ready within {format_duration(expected.allowed)}: {answer.why}")
        text = progress_text(progress, startup.now, expected.earlier, expected.size)
        world.events.progress(f"{wanted.name}: {text}")


def _let_others_go_first(name: str, world: World) -> None:
    """Waiting is nothing that a person who wants it down, or who comes after the watcher, has to wait for."""
    order = get_args(Asker)
    asker = world.state.asked_by(name)
    if asker and order.index(asker) > order.index("watch" if world.by == "watch" else "person"):
        raise Yielded(f"await {name}", "another orch takes over")
