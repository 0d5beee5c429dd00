"""`orch run`: this process is the engine's parent and owner, as a container's or a job's entry point wants it.

It prepares like `apply`, starts the engine on its own streams, hands signals on, reaps whatever the engine leaves
behind, and ends with the engine's own status. It keeps no record: `apply` and `watch` leave such an engine alone.
"""

import contextlib
import os
import signal
import time
from functools import partial
from pathlib import Path
from threading import Thread
from uuid import uuid4

from orchestrator import proc, shell
from orchestrator.conflicts import claims
from orchestrator.engines import vllm
from orchestrator.environ import child
from orchestrator.errors import PlanError
from orchestrator.execute import execute
from orchestrator.model import Deployment, Instance, Marker, Phase, Placement, RuntimeInfo
from orchestrator.observe import observe, token
from orchestrator.plan import Plan, Start
from orchestrator.ports import World
from orchestrator.reaper import become_reaper
from orchestrator.reconcile import reconcile
from orchestrator.seats import seated
from orchestrator.vacancy import await_vacancy

HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
SEAT_EVERY = 0.5  # seconds


def run(wanted: Deployment, world: World) -> int:
    """Raises what preparing raises. Returns the engine's exit status, 128 + N when signal N ended it."""
    seat = contextlib.ExitStack()
    held = claims(wanted, observe(world, [wanted]))
    with world.state.lock([wanted.name], held, world.events), contextlib.ExitStack() as undo:
        seen = observe(world, [wanted])
        running = next((one for one in seen.instances if one.name == wanted.name), None)
        if running:
            pids = ", ".join(str(one.pid) for one in running.processes)
            do = f"stop it with `orch stop {wanted.name}`"
            raise PlanError(f"run {wanted.name}", f"it runs already (pids {pids})", do)
        plan = reconcile([wanted], seen)
        prepared = execute(Plan(tuple(step for step in plan.steps if step.prepares)), seen, world, last=False)
        if prepared.error:
            raise prepared.error
        info = world.runtimes.ensure(wanted.spec.runtime, world.events.progress)
        undo.callback(seat.close)
        again = partial(reconcile, [wanted])
        settled, _ = seat.enter_context(seated(plan, seen, again, [wanted], world, lambda _: None))
        placement = next((step.change.placement for step in settled.steps if isinstance(step.change, Start)), None)
        if placement:
            await_vacancy(wanted.name, placement, world.gpus, world.clock, world.events.progress)
        become_reaper()
        engine = _Engine(wanted, world, info, placement)
        undo.pop_all()
    if placement and placement.indexes:
        Thread(target=_keep_seat, args=(wanted, world, engine, seat), daemon=True).start()
    return engine.wait()


def _keep_seat(wanted: Deployment, world: World, engine: "_Engine", seat: contextlib.ExitStack) -> None:
    """The cards are kept from other starts until this one has measured them and is ready, or is gone."""
    names, key = wanted.served_names, token(world, wanted.secret_refs)
    while engine.pid and not world.prober.ask(vllm.endpoint(wanted.spec), names, key).ready:
        world.clock.sleep(SEAT_EVERY)
    seat.close()


class _Engine:
    def __init__(self, wanted: Deployment, world: World, info: RuntimeInfo, placement: Placement | None) -> None:
        own = proc.read(os.getpid())
        owner = f"{own.pid}:{own.start}" if own else ""
        marker = Marker(world.state.project, wanted.name, f"run-{uuid4().hex[:8]}", owner)
        env = child(world.host.variables, info, wanted.spec, marker, placement, world.cuda.in_force(wanted))
        secrets = {name: world.host.secret(name, ref) for name, ref in sorted(wanted.secret_refs.items())}
        self.world, self.wanted = world, wanted
        self.before = {number: signal.signal(number, self._hand_on) for number in HANDED_ON}
        self.asked: float | None = None
        self.early: list[int] = []
        self.pid = 0
        # Kept, for subprocess itself reaps a child whose object is gone, and its status with it.
        self.child = shell.spawn(
            vllm.argv(wanted.spec, info, world.weights.model_file(wanted), world.runtimes.engine(info)),
            {**env, **secrets},
            Path.cwd(),
            None,
        )
        self.pid = self.child.pid
        for number in self.early:
            self._hand_on(number, None)
        leader = proc.read(self.pid)
        self.instance = Instance(marker, Phase.STARTING, leader, spec=wanted.spec)

    def wait(self) -> int:
        """Reaps every child until the engine itself is gone; what it left behind is ended and reaped too."""
        while (pid := self._first_gone()) != self.pid:
            os.waitpid(pid, 0)
        # Not reaped before its left-overs are gone: as long as it is a zombie, its session is proven ours.
        self.world.target.stop(self.instance, 0)
        self.pid, ended = 0, os.waitpid(pid, 0)[1]
        status = self.child.returncode = os.waitstatus_to_exitcode(ended)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        for number, handler in self.before.items():
            signal.signal(number, handler)
        return 128 - status if status < 0 else status

    @staticmethod
    def _first_gone() -> int:
        """The pid of a child that ended, still to be reaped."""
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        assert found is not None
        return found.si_pid

    def _hand_on(self, number: int, _frame: object) -> None:
        """What comes before the engine is there waits for it. A second Ctrl-C is not asked politely."""
        if not self.pid:
            self.early.append(number)
            return
        now = time.monotonic()
        final = number == signal.SIGINT and self.asked is not None and now - self.asked > 1.0
        if number == signal.SIGINT:
            self.asked = self.asked or now
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL if final else number)
