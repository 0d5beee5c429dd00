"""The state is damaged, lost, cannot be written, or has no room."""

import shutil
from pathlib import Path

from deploy_kit import serves

from chaos import mounts
from chaos.scene import Scene

GARBAGE = (
    b"\x00" * 300,
    b"\xff\xfe{]",
    b"[]",
    b"{}",
    b'{"schema": 1, "record": {"name": 7}}',
    b'{"schema": 99}',
    b"[" * 9000,
)
DISK, ENOUGH = 4 << 20, 2 << 20  # bytes
ROOMS = (0, 4096, 8192, 16384, 65536, 512 << 10, ENOUGH)  # bytes: for nothing, for one file or so, for some, for all


def files_damaged(scene: Scene) -> None:
    """Whatever of it can be read no more: what runs goes on, and is known again."""
    _stage(scene)
    for _ in range(scene.random.randint(1, 4)):
        damage(scene, scene.random.choice(files(scene)))


def records_damaged(scene: Scene) -> None:
    """All of them, and one engine is dead besides."""
    _stage(scene)
    for name in scene.ports:
        damage(scene, scene.folder(name) / "record.json")
    if scene.chance(0.5):
        scene.witness.dismiss("a")
        scene.kill_all("a")


def files_removed(scene: Scene) -> None:
    _stage(scene)
    for path in scene.random.sample(files(scene), 3):
        path.unlink()
        scene.recorded.discard(path.parent.name)
        scene.tell(f"removed {path.relative_to(scene.state)}")


def state_removed(scene: Scene) -> None:
    """All of it, or all of one deployment."""
    _stage(scene)
    folder = scene.random.choice([scene.state, scene.folder("a"), scene.folder("a").parent])
    shutil.rmtree(folder)
    scene.recorded.clear()
    scene.tell(f"removed {folder}")
    if scene.chance(0.3):
        scene.witness.dismiss("a")
        scene.edit("a")


def state_read_only(scene: Scene) -> None:
    """orch says so, and leaves everything as it is."""
    _stage(scene)
    scene.edit("a")
    mounts.read_only(scene.state)
    scene.tell("the state is read-only")
    done = scene.orch("apply", "profiles", "--yes", code=1)
    assert "cannot" in done.stderr, done.stderr
    for command in ("plan", "status"):
        scene.orch(command)
    assert serves(scene.ports["a"], "a")
    mounts.writable_again(scene.state)
    scene.witness.dismiss("a")


def disk_full(scene: Scene) -> None:
    """Where there is not room enough for all that a start writes, nothing is stopped for it."""
    mounts.small_disk(Path(scene.env["XDG_STATE_HOME"]), DISK)
    _stage(scene)
    pid = scene.engine("a")
    scene.edit("a")
    room = ROOMS[scene.nth(len(ROOMS)) - 1]
    if room == ENOUGH:
        scene.witness.dismiss("a")
    ballast = mounts.fill(scene.state, room)
    scene.tell(f"the disk of the state has {room} bytes left")
    scene.orch("apply", "profiles", "--yes", code=0 if room == ENOUGH else 1)
    scene.orch("status")
    assert (scene.engine("a") == pid) == (room < ENOUGH)
    ballast.unlink()
    scene.witness.dismiss("a")


def _stage(scene: Scene) -> None:
    """Two deployments which both have to go on."""
    scene.deploy("a", "still")
    if scene.chance(0.5):
        scene.edit("a")
        scene.apply("a")
    scene.guard("a", "still")


def files(scene: Scene) -> list[Path]:
    """All of the state but the logs, which are the engines' own."""
    return sorted(path for path in scene.state.rglob("*") if path.is_file() and path.suffix != ".log")


def damage(scene: Scene, path: Path) -> None:
    whole = path.read_bytes()
    broken = scene.random.choice([b"", whole[: scene.random.randrange(len(whole) + 1)], *GARBAGE])
    path.write_bytes(broken)
    scene.tell(f"{path.relative_to(scene.state)}: {len(whole)} bytes became {broken[:40]!r}, {len(broken)} bytes")
    if path.name == "record.json":
        scene.recorded.discard(path.parent.name)
