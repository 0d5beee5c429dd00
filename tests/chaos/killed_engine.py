"""The engine is killed, in whole or in part, crashes by itself, or is stopped in its tracks."""

import signal

from deploy_kit import alive, in_session, serves
from fakes.sandbox import wait_until

from chaos.scene import Scene


def api_server_killed(scene: Scene) -> None:
    """Its children stay behind, as those of vLLM 0.32 do."""
    pid = _stage(scene)
    scene.kill(pid, "the API server of a")


def engine_core_killed(scene: Scene) -> None:
    pid = _stage(scene)
    for child in _children(pid):
        scene.kill(child, "the EngineCore of a")


def api_server_and_engine_core_killed(scene: Scene) -> None:
    _stage(scene)
    scene.kill_all("a")


def engine_killed_while_it_starts(scene: Scene) -> None:
    """The apply that waits for it says so, and what served before comes back."""
    scene.deploy("a", "still")
    scene.guard("still")
    before = scene.engine("a")
    scene.write("a", fake_ready_after=1.0)
    scene.edit("a")
    command = scene.begin("apply", "a", "--yes")
    wait_until(lambda: scene.engine("a") not in {0, before})
    scene.pause(0.5)
    if pid := scene.engine("a"):
        scene.kill(pid, "the API server of a, which starts")
    assert command.process.wait(30) == 1
    assert serves(scene.ports["a"], "a"), "what served before did not come back"
    scene.write("a")  # else the failed digest is not tried again


def engine_killed_under_the_hands_of_orch(scene: Scene) -> None:
    scene.deploy("a", "still")
    scene.guard("still")
    pid = scene.engine("a")
    if scene.chance(0.5):
        scene.edit("a")
    command = scene.begin(scene.random.choice(["stop", "restart"]), "a")
    scene.pause(0.4)
    if alive(pid):
        scene.kill(pid, "the API server of a")
    command.process.wait(30)
    assert "Traceback" not in command.output, command.output


def engine_stopped_and_continued(scene: Scene) -> None:
    """Nobody starts it anew, for it comes back by itself."""
    pid = _stage(scene, quiet=True)
    scene.send(pid, signal.SIGSTOP, "the API server of a")
    scene.orch("apply", "profiles", "--yes", code=None)
    scene.send(pid, signal.SIGCONT, "the API server of a")
    wait_until(lambda: serves(scene.ports["a"], "a"))
    scene.lasting["a"] = pid


def engine_stopped_for_good(scene: Scene) -> None:
    """`apply` says that it does not answer, and with which command it is started anew."""
    pid = _stage(scene, quiet=True)
    scene.send(pid, signal.SIGSTOP, "the API server of a")
    done = scene.orch("apply", "profiles", "--yes", code=1)
    assert "orch restart a" in done.stdout + done.stderr
    scene.orch("restart", "a")
    assert not alive(pid)


def _stage(scene: Scene, *, quiet: bool = False) -> int:
    """`a`, to which something will happen, and `still`, to which nothing may; answers the pid of `a`."""
    scene.deploy("a", "still")
    scene.guard("still")
    if not quiet and scene.chance(0.3):
        scene.edit("a")
    return scene.engine("a")


def _children(pid: int) -> list[int]:
    return [one for one in in_session(pid) if one != pid]
