"""Walks a plan, step by step, and decides nothing: it does what the step says, keeps the records, and stops at the
first failure. What to do about a failure is the controller's business.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, assert_never

from orchestrator import adoption, history, revisions
from orchestrator.codec import digest
from orchestrator.engines import vllm
from orchestrator.environ import child
from orchestrator.errors import HostError, InputError, Interrupted, OrchError, StartFailed, Unfit, Yielded
from orchestrator.fitting import fit_of
from orchestrator.model import (
    Attempt,
    Deployment,
    Instance,
    Launch,
    Marker,
    Observed,
    Placement,
    Record,
    Revision,
    RuntimeInfo,
    RuntimeSpec,
)
from orchestrator.observe import token
from orchestrator.plan import (
    Adjust,
    Adopt,
    AwaitReady,
    BuildRuntime,
    Clear,
    Fetch,
    Forget,
    Pause,
    Plan,
    Preflight,
    Repair,
    Start,
    Step,
    Stop,
)
from orchestrator.ports import World
from orchestrator.postmortem import examine
from orchestrator.readiness import Expected, Failed, until_ready
from orchestrator.render import describe
from orchestrator.startup import Startup
from orchestrator.vacancy import await_vacancy


@dataclass(slots=True)
class Report:
    """``stopped``: deployments with an instance that was ended; ``ready``: those that came up; ``failed`` the step
    that did not succeed, if any, with its error."""

    stopped: list[str] = field(default_factory=list)
    ready: list[Deployment] = field(default_factory=list)
    failed: Step | None = None
    error: OrchError | None = None


def execute(
    plan: Plan,
    observed: Observed,
    world: World,
    timeout: float | None = None,
    *,
    insist: bool = False,
    last: bool = True,
) -> Report:
    """``timeout`` in seconds stands in for each profile's own readiness deadline. ``insist``: an interruption waits
    until everything is started, for something that served is down. ``last``: nothing comes after it; else an
    interruption that came during its last step is heard by what does.

    Raises Interrupted when the person ends it; every other failure is in the report."""
    starting = frozenset(step.name for step in plan.steps if isinstance(step.change, Start))
    walk = _Walk(world, observed, timeout, insist, starting)
    for step in plan.steps:
        try:
            walk.take(step)
        except KeyboardInterrupt:
            raise Interrupted("finish", f"interrupted during `{_title(step)}`", walk.after(step)) from None
        except Yielded as error:
            raise Interrupted("finish", error.why, walk.after(step)) from None
        except OrchError as error:
            walk.report.failed, walk.report.error = step, error
            return walk.report
        except Exception as error:
            if not walk.committed:
                raise
            # Invariant 4 holds for our own mistakes too: what was stopped has to come back.
            why = f"{type(error).__name__} inside orch, which is a mistake in it"
            walk.report.failed, walk.report.error = step, HostError(f"finish `{_title(step)}`", why, "please report it")
            return walk.report
    if last:
        walk.end()
    return walk.report


def _title(step: Step) -> str:
    return describe(step.change)[0]


@dataclass(slots=True)
class _Walk:
    world: World
    observed: Observed
    timeout: float | None
    insist: bool
    starting: frozenset[str]  # the deployments whose rollout starts something
    report: Report = field(default_factory=Report)
    runtimes: dict[RuntimeSpec, RuntimeInfo] = field(default_factory=dict)
    started: dict[str, Deployment] = field(default_factory=dict)
    running: dict[str, Instance] = field(default_factory=dict)
    began: dict[str, float] = field(default_factory=dict)  # monotonic seconds of each start
    came: dict[str, Startup] = field(default_factory=dict)  # how far each has come that was awaited
    committed: bool = False  # something was stopped or started, and its rollout is not at its end

    def take(self, step: Step) -> None:
        """Ctrl-C takes effect in prepare and while waiting; between a stop and its start it waits."""
        awaits = isinstance(step.change, AwaitReady)
        if awaits or not (self.committed or self.insist):
            self.world.interrupts.check()
        self._say(step)
        if awaits or (step.prepares and not self.insist):
            self._act(step)
            self.committed = False
        else:
            self.committed = step.name in self.starting and isinstance(step.change, Stop | Clear | Start)
            with self.world.interrupts.deferred():
                self._act(step)

    def end(self) -> None:
        """An interruption that came during the last step has not been heard yet."""
        try:
            self.world.interrupts.check()
        except KeyboardInterrupt:
            raise Interrupted("go on", "interrupted", "all of the plan was carried out") from None

    def after(self, step: Step) -> str:
        """What is left in which state, for whoever interrupted it."""
        starting = f"{step.name} goes on starting; see `orch status` or `orch logs {step.name} -f`"
        begun = isinstance(step.change, AwaitReady)
        up = {one.name for one in self.report.ready} | ({step.name} if begun else set())
        down = [name for name in dict.fromkeys(self.report.stopped) if name not in up]
        if down and step.name in self.starting:
            text = f"{', '.join(down)} stopped and not started again: the same command goes on from here"
            return f"{starting}; {text}" if begun else text
        return starting if begun else "what is done stays; the same command goes on from here"

    def _say(self, step: Step) -> None:
        verb, rest = describe(step.change)
        self.world.events.say(f"{verb}: {rest}" if rest else verb)

    def _act(self, step: Step) -> None:  # noqa: PLR0912 (a branch a kind of step)
        match step.change:
            case BuildRuntime(wanted):
                self.world.runtimes.ensure(wanted.spec.runtime, self.world.events.progress)
            case Fetch(wanted, _):
                self._runtime(wanted.spec.runtime)  # what it sets may say where the cache is
                self.world.weights.fetch(wanted, self.world.events)
            case Repair(wanted, _):
                self.world.cuda.repair(wanted, self._runtime(wanted.spec.runtime))
            case Preflight(wanted):
                self._preflight(wanted)
            case Stop(instance, drain):
                self.report.stopped.append(instance.name)
                self.world.target.stop(instance, drain)
            case Clear(instance):
                self.world.target.stop(instance, 0)
            case Start(wanted, placement):
                self._start(wanted, placement)
            case AwaitReady(wanted):
                self._await(wanted)
            case Adjust(wanted):
                self._adjust(wanted)
            case Adopt(attempt):
                self._adopt(attempt)
            case Pause(name, because):
                self._save(history.paused(self._record(name) or Record(name), because))
            case Forget(name):
                self.world.state.forget(name)
                self.world.target.forget(self.world.state.project, name)
            case other:
                assert_never(other)

    # ------------------------------------------------------------------------------------------------------- prepare

    def _preflight(self, wanted: Deployment) -> None:
        """All that can be known to fail without stopping anything."""
        spec = wanted.spec
        if spec.model.path and (why := self.world.host.check_model(spec.model.path)):
            raise InputError(f"serve {wanted.name}", why, "correct model.path", wanted.source.at("model", "path"))
        for name, ref in sorted(wanted.secret_refs.items()):
            self.world.host.secret(name, ref)
        self.world.state.check_writable(wanted.name)
        self.world.target.check(spec.backend, self.world.events.say)
        info = self._runtime(spec.runtime)
        if spec.gpus != 0 and not self.insist and self.world.cuda.is_missing(wanted, info):
            why = f"{info.engine} {info.version} computes on GPUs, and there is no libcuda on this host"
            raise Unfit(f"start {wanted.name}", why, "see `orch doctor`", wanted.source.at("environment"))
        self.world.runtimes.learn(info, self.world.events.say)
        flags = vllm.flags(spec, info.style, None, self.world.runtimes.engine(info))
        if complaint := self.world.runtimes.check_argv(info, flags, self.world.events.say):
            why = f"{info.engine} {info.version} refuses its flags: {complaint}"
            raise Unfit(f"start {wanted.name}", why, "correct them in the profile", wanted.source.at("serve"))

    def _runtime(self, spec: RuntimeSpec) -> RuntimeInfo:
        if spec not in self.runtimes:
            self.runtimes[spec] = self.world.runtimes.ensure(spec, self.world.events.progress)
        return self.runtimes[spec]

    # -------------------------------------------------------------------------------------------------------- switch

    def _start(self, wanted: Deployment, placement: Placement | None) -> None:
        world = self.world
        if unknown := sorted(set(wanted.spec.secrets) - set(wanted.secret_refs)):
            why = f"where its secrets {', '.join(unknown)} are kept is no longer known"
            raise HostError(f"start {wanted.name}", why, f"use `orch apply {wanted.name}`")
        secrets = {name: world.host.secret(name, ref) for name, ref in sorted(wanted.secret_refs.items())}
        # What it is started with is what is recorded: the plan of a restart or a rollback holds older hashes.
        hashes = {name: world.state.fingerprint(value) for name, value in secrets.items()}
        spec = replace(wanted.spec, secrets=hashes)
        wanted = self.started[wanted.name] = replace(wanted, spec=spec, held_back=())
        info = self._runtime(spec.runtime)
        attempt, log = world.state.new_attempt(wanted.name)
        marker = Marker(world.state.project, wanted.name, attempt)
        file = world.weights.model_file(wanted)
        laid = world.cuda.in_force(wanted)
        env = child(world.host.variables, info, spec, marker, placement, laid)
        argv = vllm.argv(spec, info, file, world.runtimes.engine(info))
        launch = Launch(argv, env, spec.backend, spec.drain)
        if placement:
            await_vacancy(wanted.name, placement, world.gpus, world.clock, world.events.progress)
        self.began[wanted.name] = world.clock.monotonic()
        try:
            instance = world.target.start(marker, launch, secrets, log)
        except HostError as error:
            self._reject(wanted, str(error), str(log))
            raise
        leader = instance.leader
        assert leader is not None
        self.running[wanted.name] = replace(instance, spec=spec, log=str(log))
        at, gpus = world.clock.now(), placement.gpus if placement else ()
        boot, cgroup = world.target.boot, world.logs.cgroup(leader.pid)
        begun = Attempt(attempt, leader.pid, leader.start, boot, at, wanted, str(log), gpus=gpus, by=world.by)
        begun = replace(begun, cgroup=cgroup, oom_kills=world.logs.oom_kills(cgroup) if cgroup else None)
        self._save(history.started(self._record(wanted.name), wanted.name, begun))

    def _await(self, planned: Deployment) -> None:
        wanted = self.started.get(planned.name, planned)
        instance = self.running.get(wanted.name)
        if instance is None:
            instance = self._found(wanted.name)
            self._recognize(wanted, instance)
        self.world.events.engine(instance.log)
        startup = self.came[wanted.name] = self._startup(wanted, instance)
        try:
            failed = until_ready(wanted, instance, startup, self._expected(wanted), self.world)
        finally:
            startup.close()
        if failed:
            raise self._failure(wanted, instance, failed)
        self.report.ready.append(wanted)
        self._remember(wanted)
        self.world.weights.settle(wanted)

    def _startup(self, wanted: Deployment, instance: Instance) -> Startup:
        info = self.runtimes.get(wanted.spec.runtime) or self.world.runtimes.state(wanted.spec.runtime).info
        began = instance.started_at or self.world.clock.now()
        return Startup(self.world.logs, instance.log, began, info.version if info else "")

    def _expected(self, wanted: Deployment) -> Expected:
        weights = self.observed.weights.get(wanted.name, ())
        return Expected(
            began=self.began.get(wanted.name, self.world.clock.monotonic()),
            allowed=wanted.policy.ready_timeout if self.timeout is None else self.timeout,
            earlier=revisions.stages(self.world.state.revisions(wanted.name), digest(wanted.spec)),
            size=sum(one.total or 0 for one in weights if one.use.slot == "model"),
        )

    def _failure(self, wanted: Deployment, instance: Instance, failed: Failed) -> StartFailed:
        """What is to be said of it, once that is on record."""
        record = self._record(wanted.name) or Record(wanted.name)
        startup, begun = self.came[wanted.name], record.attempt
        if begun is None or begun.id != instance.marker.attempt:  # its record was taken away meanwhile
            begun = self._attempt(wanted, instance)
        begun = replace(begun, stage=startup.progress.stage, stages=startup.seconds, measured=startup.measured)
        begun = replace(begun, exit=failed.exit, timed_out=failed.exit is None)
        self._reject(wanted, failed.why, instance.log, begun)  # first of all: what comes now may be interrupted
        found = examine(self.world, begun, failed.why, [instance])
        self._reject(wanted, found.why, instance.log, found.attempt)
        if found.trouble:
            self.world.events.say(f"warning: {found.trouble}")
        first, *more = found.lines(f"cannot start {wanted.name}: ")
        return StartFailed(f"start {wanted.name}", first.partition(": ")[2], more, instance.log)

    def _found(self, name: str) -> Instance:
        found = next((one for one in reversed(self.observed.instances) if one.name == name and one.leader), None)
        if found is None:
            raise StartFailed(f"start {name}", "it is not running any more", do=f"see `orch explain {name}`")
        return found

    # ------------------------------------------------------------------------------------------------------- records

    def _remember(self, wanted: Deployment) -> None:
        """A revision that starts once more, by whomever, keeps who made it and when."""
        record = self._record(wanted.name) or Record(wanted.name)
        now, name = self.world.clock.now(), digest(wanted.spec)
        began = self.began.get(wanted.name)
        # Only what is known: to remember a start must not build anything.
        info = self.runtimes.get(wanted.spec.runtime) or self.world.runtimes.state(wanted.spec.runtime).info
        number = revisions.numbered(wanted, record.revision, self.world.state.next_revision(wanted.name))
        kept = self.world.state.revisions(wanted.name)
        first = next((one for one in kept if one.number == number and one.digest == name), None)
        known = first.ready_seconds if first else 0.0
        revision = Revision(
            number=number,
            digest=name,
            deployment=replace(wanted, held_back=()),
            at=first.at if first else now,
            user=first.user if first else self.world.host.user,
            runtime=info.key if info else "",
            engine=f"{info.engine} {info.version}" if info else "",
            ready_seconds=round(self.world.clock.monotonic() - began, 1) if began else known,
            gpus=record.attempt.gpus if record.attempt else (),
            estimate=self._reckoned(wanted) or (first.estimate if first else {}),
            **self._far(wanted.name, first),
        )
        self.world.state.add_revision(wanted.name, revision)
        self._save(history.succeeded(record, revision, now))

    def _far(self, name: str, known: Revision | None) -> Mapping[str, Any]:
        """What was read of its start, or else of the last one that was."""
        if startup := self.came.get(name):
            return {"stages": startup.seconds, "measured": startup.measured}
        return {"stages": known.stages, "measured": known.measured} if known else {}

    def _reckoned(self, wanted: Deployment) -> Mapping[str, float]:
        """For the start that has just come up, and without what it taught."""
        if wanted.name not in self.came:
            return {}
        from orchestrator.learning import estimate

        return estimate(self.observed.fits.get(wanted.name) or fit_of(wanted, self.world, self.observed))

    def _adjust(self, wanted: Deployment) -> None:
        self._recognize(wanted, self._found(wanted.name))
        self._remember(wanted)

    def _recognize(self, wanted: Deployment, instance: Instance) -> None:
        """Records a start of which nothing was, or an earlier one is: orch was ended before it had written it down."""
        record = self._record(wanted.name)
        if record and record.attempt and record.attempt.id == instance.marker.attempt:
            return
        self._save(history.started(record, wanted.name, self._attempt(wanted, instance)))

    def _attempt(self, wanted: Deployment, instance: Instance) -> Attempt:
        """As far as the instance itself tells."""
        assert instance.leader is not None
        attempt = instance.marker.attempt
        log = next((str(one) for one in self.world.state.logs(wanted.name) if one.stem == attempt), instance.log)
        at = instance.started_at or self.world.clock.now()
        pid, start, boot = instance.leader.pid, instance.leader.start, self.world.target.boot
        return Attempt(attempt, pid, start, boot, at, wanted, log, gpus=instance.gpus)

    def _adopt(self, taken: Attempt) -> None:
        """Its other processes are written down as they are now: once it is gone, they are proven by nothing else."""
        wanted = taken.deployment
        found = adoption.proven(self.world, taken, token(self.world, wanted.secret_refs))
        family = tuple((one.pid, one.start) for one in found.children)
        self._save(history.started(self._record(wanted.name), wanted.name, replace(taken, family=family)))
        self._remember(wanted)
        self.report.ready.append(wanted)

    def _reject(self, wanted: Deployment, why: str, log: str, attempt: Attempt | None = None) -> None:
        record = self._record(wanted.name) or Record(wanted.name)
        record = replace(record, attempt=attempt or record.attempt)
        try:
            self._save(history.failed(record, wanted, why, self.world.clock.now(), log))
        except HostError as error:  # the failure itself is what the person has to read
            self.world.events.say(str(error))

    def _record(self, name: str) -> Record | None:
        return self.world.state.records().get(name)

    def _save(self, record: Record) -> None:
        self.world.state.save(record)
