"""Several at once."""

from chaos.scene import Scene


def applies_at_once(scene: Scene) -> None:
    """One does it; the others have nothing left to do, or find that the world has moved."""
    scene.deploy("a", "b", "still")
    scene.guard("still")
    scene.edit("a", "b")
    if scene.chance(0.5):
        scene.want("c")
    _all(scene, [["apply", "profiles", "--yes"]] * scene.random.randint(2, 3))


def apply_and_stop_at_once(scene: Scene) -> None:
    scene.deploy("a", "still")
    scene.guard("still")
    scene.edit("a")
    _all(scene, _shuffled(scene, ["apply", "a", "--yes"], ["stop", "a"]))


def everything_at_once(scene: Scene) -> None:
    scene.deploy("a", "still")
    scene.guard("still")
    scene.edit("a")
    scene.recorded.discard("a")  # it may be deleted
    verbs = _shuffled(scene, ["apply", "a", "--yes"], ["stop", "a"], ["restart", "a"], ["delete", "a", "--yes"])
    _all(scene, verbs[: scene.random.randint(2, 4)])


def killed_beside_another(scene: Scene) -> None:
    """Of two applies, the one that works is killed, and the one that waits goes on."""
    scene.deploy("a", "still")
    scene.guard("still")
    scene.edit("a")
    first, second = (scene.begin("apply", "profiles", "--yes") for _ in range(2))
    scene.pause(0.8)
    scene.slay(first, "beside another apply")
    code = second.process.wait(60)
    scene.tell(f"the other ended with {code}: {second.output.splitlines()}")
    assert "Traceback" not in second.output


def _shuffled(scene: Scene, *verbs: list[str]) -> list[list[str]]:
    return scene.random.sample(verbs, len(verbs))


def _all(scene: Scene, commands: list[list[str]]) -> None:
    """Begun within a second, and all at their end: done, or refused in words."""
    running = []
    for args in commands:
        running.append((args, scene.begin(*args)))
        scene.pause(0.3)
    for args, command in running:
        code = command.process.wait(60)
        scene.tell(f"orch {' '.join(args)} ended with {code}: {' | '.join(command.output.splitlines())}")
        assert code in {0, 1} or "another orch takes over" in command.output
        assert "Traceback" not in command.output, command.output
