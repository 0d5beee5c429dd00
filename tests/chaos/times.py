"""The clock jumps, numbers of processes come back, and the machine seems to have started anew."""

import json
from pathlib import Path
from typing import Any

from deploy_kit import alive, fields

from chaos.scene import Scene

YEARS = 10 * 365 * 86400.0


def clock_jumped(scene: Scene) -> None:
    """Since the records were written, by years and to either side."""
    scene.deploy("a", "b", "still")
    scene.guard("a", "b", "still")
    jump = scene.random.choice([-1, 1]) * scene.random.choice([60.0, 86400.0, YEARS])
    for name in scene.ports:
        _rewrite(scene, name, lambda record: _moved(record, jump))
    scene.tell(f"every time in the records moved by {jump:.0f} s")
    scene.orch("status")
    scene.orch("plan", "profiles", "--detailed-exitcode")
    if scene.chance(0.5):
        scene.witness.dismiss("a")
        scene.kill_all("a")


def pid_reused(scene: Scene) -> None:
    """The number of an engine that died is now an innocent's, its left-over children may live, and the record names
    the innocent by its start time as well. Children without a mark would then be proven by nothing."""
    scene.blank = False
    scene.deploy("a", "still")
    scene.guard("still")
    if scene.chance(0.5):
        scene.kill_all("a")
    else:
        scene.kill(scene.engine("a"), "the API server of a")
    other = scene.innocent.pid
    exact = scene.chance(0.6)
    start = int(fields(other)[19]) if exact else 1
    # Of an adopted engine nothing but the number and the start time is known, and so the record is believed.
    adopted = not exact and scene.chance(0.5)
    _rewrite(scene, "a", lambda record: _named(record, other, start, adopted=adopted))
    scene.tell(f"the record of a names the innocent {other}, {exact=}, {adopted=}")
    if verb := scene.random.choice(["", "stop", "restart"]):
        scene.orch(verb, "a", code=None)


def rebooted(scene: Scene) -> None:
    """Another boot: nothing of the old one lives, and every number may be another's."""
    scene.deploy("a", "still")
    for name in ("a", "still"):
        scene.kill_all(name)
    another_boot(scene, "a", "still")


def boot_id_forged(scene: Scene) -> None:
    """The records are of another boot, and yet the engines live: they are known by their mark."""
    scene.deploy("a", "still")
    scene.guard("a", "still")
    pid = scene.engine("a")
    another_boot(scene, "a", "still")
    if scene.chance(0.5):
        scene.orch("plan", "profiles")
    scene.apply("profiles")
    assert alive(pid)


def another_boot(scene: Scene, *names: str) -> None:
    """The records are of one, and the number of what is dead may be anybody's now."""
    for name in names:
        _rewrite(scene, name, _of_another_boot)
        if not scene.engine(name) and scene.chance(0.3):
            _rewrite(scene, name, lambda record: _named(record, scene.innocent.pid, 1))
    scene.tell("the records are of another boot")


def _rewrite(scene: Scene, name: str, change: Any) -> None:
    file: Path = scene.folder(name) / "record.json"
    document = json.loads(file.read_text())
    document["record"] = change(document["record"])
    file.write_text(json.dumps(document))


def _moved(value: Any, jump: float) -> Any:
    """Every point in time: what is called ``at``, or ends so."""
    if isinstance(value, dict):
        return {
            key: one + jump if isinstance(one, float) and (key == "at" or key.endswith("_at")) else _moved(one, jump)
            for key, one in value.items()
        }
    return [_moved(one, jump) for one in value] if isinstance(value, list) else value


def _named(record: Any, pid: int, start: int, *, adopted: bool = False) -> Any:
    return record | {"attempt": record["attempt"] | {"pid": pid, "start": start, "adopted": adopted}}


def _of_another_boot(record: Any) -> Any:
    return record | {"attempt": record["attempt"] | {"boot": "00000000-0000-4000-8000-000000000000"}}
