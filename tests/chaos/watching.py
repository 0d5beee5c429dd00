"""`orch watch` keeps a project, and everything happens to both."""

import signal

from deploy_kit import alive, in_session
from fakes.sandbox import Background, wait_until

from chaos import state_files, times
from chaos.clock import Clock
from chaos.scene import Scene

PATIENCE = 30.0  # seconds for the watcher to have mended what was done; far more than it takes
LOOK = 120.0  # seconds for what it sees only by looking, which it does every half minute


def watcher_killed(scene: Scene) -> None:
    """At any time, most of all while it has something to do; what runs goes on, and a new one takes over."""
    _stage(scene)
    command = _watch(scene)
    _work_for_it(scene)
    scene.pause(1.0)
    scene.slay(command, "the watcher")
    _errands_end(scene)
    if scene.chance(0.5):
        _converges(scene, _watch(scene))


def watcher_told_to_end(scene: Scene) -> None:
    """It finishes what may not be torn apart, and leaves everything running."""
    _stage(scene)
    command = _watch(scene)
    _work_for_it(scene)
    scene.pause(1.0)
    scene.send(command.process.pid, signal.SIGTERM, "the watcher")
    code = command.process.wait(30)
    assert code == 0, f"{code}: {command.output}"
    assert "Traceback" not in command.output, command.output


def watched_twice(scene: Scene) -> None:
    """The second refuses, whichever that is; after the first was killed another may."""
    _stage(scene)
    both = [scene.begin("watch", "profiles") for _ in range(2)]
    wait_until(lambda: [one for one in both if one.process.poll() is not None], 20)
    refused = next(one for one in both if one.process.poll() is not None)
    kept = next(one for one in both if one is not refused)
    assert refused.process.returncode == 1, refused.output
    assert "cannot watch this project" in refused.output, refused.output
    assert kept.process.poll() is None
    scene.slay(kept, "the watcher")
    _errands_end(scene)
    _converges(scene, _watch(scene))


def crashed_under_watch(scene: Scene) -> None:
    """It is started again by itself, whatever of it was killed."""
    _stage(scene)
    command = _watch(scene)
    pid = scene.engine("a")
    match scene.nth(3):
        case 1:
            scene.kill(pid, "the API server of a")
        case 2:
            scene.kill_all("a")
        case _:
            for child in (*in_session(pid), pid):
                if alive(child):
                    scene.send(child, signal.SIGKILL, "of a")
    wait_until(lambda: scene.engine("a") not in {0, pid}, PATIENCE)
    _converges(scene, command)
    assert scene.record("a")["attempt"]["by"] == "watch"


def crashed_again_and_again_under_watch(scene: Scene) -> None:
    """Until it is given up; a person's apply starts it anew."""
    scene.attempts = 2
    _stage(scene)
    command = _watch(scene)
    pid = 0
    while not _given_up(scene):
        wait_until(lambda: _given_up(scene) or scene.engine("a") not in {0, pid}, PATIENCE)
        if pid := scene.engine("a"):
            scene.kill(pid, "the API server of a")
    deaths = scene.record("a")["deaths"]
    assert len(deaths) == scene.attempts + 1, deaths
    scene.apply("a")
    assert not _given_up(scene)
    _converges(scene, command)


def stopped_under_watch(scene: Scene) -> None:
    """Whoever stops an engine has half a minute to look around; then it counts as hung."""
    _stage(scene)
    command = _watch(scene)
    pid = scene.engine("a")
    scene.send(pid, signal.SIGSTOP, "the API server of a")
    wait_until(lambda: scene.engine("a") not in {0, pid}, LOOK)
    _converges(scene, command)
    assert "stopped" in scene.record("a")["deaths"][-1]["why"]


def clock_jumps_under_watch(scene: Scene) -> None:
    """By years, to either side, and something crashes each time; nobody waits for a year, and nothing else is
    touched."""
    clock = Clock(scene)
    _stage(scene)
    scene.lasting["still"] = scene.engine("still")
    command = _watch(scene)
    for _ in range(2):
        clock.jump()
        scene.pause(0.5)
        pid = scene.engine("a")
        scene.kill(pid, "the API server of a")
        wait_until(lambda: scene.engine("a") not in {0, pid}, PATIENCE)  # noqa: B023 (it is asked at once)
        clock.jump()
        _converges(scene, command)


def state_damaged_under_watch(scene: Scene) -> None:
    """While it watches; what it cannot know any more it leaves alone."""
    _stage(scene)
    command = _watch(scene)
    for _ in range(scene.random.randint(1, 3)):
        state_files.damage(scene, scene.random.choice(state_files.files(scene)))
        scene.pause(0.5)
    if scene.chance(0.5):
        scene.kill_all("a")
        scene.pause(1.0)
    assert command.process.poll() is None, command.output
    command.process.terminate()
    assert command.process.wait(30) == 0, command.output
    assert "Traceback" not in command.output, command.output


def rebooted_under_watch(scene: Scene) -> None:
    """The machine starts anew, and the watcher with it: everything comes back by itself, but for what was stopped."""
    scene.deploy("a", "b", "off")
    scene.orch("stop", "off")
    for name in ("a", "b"):
        scene.kill_all(name)
    times.another_boot(scene, "a", "b", "off")
    command = scene.begin("watch")
    wait_until(lambda: scene.engine("a") and scene.engine("b"), PATIENCE)
    wait_until(lambda: scene.orch("status", "a", "b", "--check", code=None).code == 0, PATIENCE)
    assert not scene.engine("off"), "it was stopped on purpose"
    command.process.terminate()
    assert command.process.wait(30) == 0, command.output
    scene.lasting = {name: scene.engine(name) for name in ("a", "b")}


def edited_under_watch(scene: Scene) -> None:
    """What does not load is left alone, and what serves goes on; once it loads it is applied."""
    _stage(scene)
    command = _watch(scene)
    pid = scene.engine("a")
    file = scene.sandbox.project / "profiles" / "a.yaml"
    good = file.read_text()
    for broken in scene.random.sample(["", "name: [", "name: a\nnonsense: 1\n", good[: len(good) // 2]], 2):
        file.write_text(broken)
        scene.tell(f"a.yaml became {broken[:30]!r}")
        scene.pause(0.5)
    assert scene.engine("a") == pid
    file.write_text(good)
    scene.edit("a")
    wait_until(lambda: scene.engine("a") not in {0, pid}, PATIENCE)
    _converges(scene, command)


def all_at_once_under_watch(scene: Scene) -> None:
    """The watcher, a person who applies and one who stops; what a person stopped stays so."""
    _stage(scene)
    command = _watch(scene)
    scene.edit("a")
    if scene.chance(0.5) and (pid := scene.engine("a")):
        scene.kill(pid, "the API server of a")
    verbs = [["apply", "a", "--yes"], ["stop", "a"], ["restart", "a"]]
    running = []
    for args in scene.random.sample(verbs, scene.random.randint(1, 3)):
        running.append((args, scene.begin(*args)))
        scene.pause(0.3)
    for args, one in running:
        code = one.process.wait(60)
        scene.tell(f"orch {' '.join(args)} ended with {code}: {' | '.join(one.output.splitlines())}")
        assert code in {0, 1} or "another orch takes over" in one.output
        assert "Traceback" not in one.output
    scene.orch("stop", "a", code=None)
    wait_until(lambda: scene.engine("a") == 0)
    scene.pause(1.0)
    assert scene.engine("a") == 0, "it was stopped on purpose, and started"
    scene.apply("a")
    _converges(scene, command)


def _stage(scene: Scene) -> None:
    scene.deploy("a", "still")
    scene.guard("still")


def _watch(scene: Scene) -> Background:
    """Returns when it is there and has looked at the files."""
    command = scene.begin("watch", "profiles")
    scene.tell(f"orch watch profiles (pid {command.process.pid})")
    file = scene.folder("a").parent / "watch.json"
    wait_until(lambda: command.process.poll() is not None or _says(file.read_text() if file.exists() else "", command))
    assert command.process.poll() is None, command.output
    return command


def _says(document: str, command: Background) -> bool:
    return f'"pid": {command.process.pid},' in document and '"still"' in document


def _errands_end(scene: Scene) -> None:
    """What a watcher had begun is finished after its death; an apply meanwhile would be told that the world moves."""

    def ended() -> bool:
        """no errand of a dead watcher is left"""
        return not any("orchestrator.cli.watching" in line for line in scene.sandbox.living().values())

    wait_until(ended, PATIENCE)


def _given_up(scene: Scene) -> str:
    return str(scene.record("a").get("given_up", ""))


def _work_for_it(scene: Scene) -> None:
    if scene.chance(0.7):
        scene.edit("a")
    if scene.chance(0.7) and (pid := scene.engine("a")):
        scene.send(pid, signal.SIGKILL, "the API server of a")


def _converges(scene: Scene, watcher: Background) -> None:
    """By itself: nobody applies."""

    def converged() -> bool:
        return scene.orch("plan", "profiles", "--detailed-exitcode", code=None).code == 0

    wait_until(converged, PATIENCE)
    assert watcher.process.poll() is None, watcher.output
    assert "Traceback" not in watcher.output, watcher.output
