"""orch itself is killed: at every line that it says, at any other time, and just as an engine is born."""

from collections.abc import Callable

from deploy_kit import alive
from fakes.sandbox import Background, wait_until

from chaos.scene import Scene

LINES = 8  # as many as the longest of these commands says


def apply_killed(scene: Scene) -> None:
    """An edit and a newcomer are rolled out; a third deployment has nothing to do with it."""
    scene.deploy("a", "b", "still")
    scene.guard("still")
    scene.edit("a", "b")
    if scene.chance(0.5):
        scene.want("c")
    if scene.chance(0.3):
        scene.guard("a")  # which serves until it is stopped
        scene.witness.dismiss("a")
    strike(scene, "apply", "profiles", "--yes")


def apply_killed_as_an_engine_is_born(scene: Scene) -> None:
    """Between the fork and the record, as near as one comes from outside."""
    scene.deploy("a", "still")
    scene.guard("still")
    before = scene.engine("a")
    scene.edit("a")
    command = scene.begin("apply", "profiles", "--yes")
    wait_until(lambda: scene.engine("a") not in {0, before} or command.process.poll() is not None)
    scene.slay(command, "an engine was born")


def restart_killed(scene: Scene) -> None:
    scene.deploy("a", "b", "still")
    scene.guard("still")
    strike(scene, "restart", "a", "b")


def stop_killed(scene: Scene) -> None:
    scene.deploy("a", "b", "still")
    scene.guard("still")
    strike(scene, "stop", "a", "b")


def delete_killed(scene: Scene) -> None:
    """What it had forgotten already is new again; of the rest everything is known."""
    scene.deploy("a", "b", "still")
    scene.guard("still")
    scene.recorded -= {"a", "b"}
    strike(scene, "delete", "a", "b", "--yes")


def rollback_killed(scene: Scene) -> None:
    """The pin holds or is ended, and either way the plan is empty then."""
    scene.deploy("a", "still")
    scene.guard("still")
    scene.edit("a")
    scene.apply("a")
    strike(scene, "rollback", "a", "--yes")
    if scene.chance(0.5):
        scene.orch("apply", "a", "--unpin", "--yes")


def killed_again_and_again(scene: Scene) -> None:
    """Each attempt to go on is killed as well."""
    scene.deploy("a", "still")
    scene.guard("still")
    for _ in range(3):
        scene.edit("a")
        command = scene.begin("apply", "profiles", "--yes")
        scene.pause(0.8)
        scene.slay(command, "at some time")


def strike(scene: Scene, *args: str) -> None:
    """At the k-th line, or a drawn time after it."""
    scene.tell(f"orch {' '.join(args)}")
    line = scene.nth(LINES)
    command = scene.begin(*args)
    wait_until(_said(command, line), 30)
    if scene.chance(0.5):
        scene.pause(0.3)
    scene.slay(command, f"at line {line}")
    assert "Traceback" not in command.output, command.output


def _said(command: Background, lines: int) -> Callable[[], bool]:
    return lambda: command.output.count("\n") >= lines or not alive(command.process.pid)
