"""What has to hold after whatever was done. Read from /proc, the ports and the files; orch is asked for nothing but one
`apply`, and for the plan after it."""

import json
from pathlib import Path

from deploy_kit import alive, fields, in_session, serves
from fakes.sandbox import wait_until

from chaos.scene import Scene


def check(scene: Scene) -> None:
    records_are_kept(scene)
    scene.apply("profiles")
    for name in scene.ports:
        scene.recorded.add(name)
    plan = scene.orch("plan", "profiles", "--detailed-exitcode", code=None)
    assert plan.code == 0, f"one apply does not converge:\n{plan.stdout}{plan.stderr}"
    records_are_kept(scene)
    for name, port in scene.ports.items():
        runs_once(scene, name, port)
    nothing_is_left_over(scene)
    nobody_else_was_touched(scene)
    scene.witness.end()
    assert not scene.witness.complaints, "\n".join(scene.witness.complaints)


def records_are_kept(scene: Scene) -> None:
    for name in scene.recorded:
        files = list(scene.state.glob(f"*/*/{name}/record.json"))
        assert len(files) == 1, f"the record of {name} is lost"
        document = json.loads(files[0].read_text())
        assert document["record"]["name"] == name


def runs_once(scene: Scene, name: str, port: int) -> None:
    """One engine, which is the recorded one, serves, and listens where it should."""
    pid = scene.engine(name)
    assert pid, f"{name} does not run"
    attempt = scene.record(name)["attempt"]
    assert attempt["pid"] == pid, f"{name} runs as {pid} and is recorded as {attempt['pid']}"
    assert str(attempt["start"]) == fields(pid)[19], f"another process than {pid} is recorded for {name}"
    assert attempt["ready_at"] is not None
    assert serves(port, name), f"{name} does not serve"
    assert pid == scene.lasting.get(name, pid), f"{name} was started anew"


def nothing_is_left_over(scene: Scene) -> None:
    wanted = {pid for name in scene.ports for pid in in_session(scene.engine(name))}
    kept = {command.process.pid for command in scene.commands if command.process.poll() is None}

    def left() -> dict[int, str]:
        return {pid: line for pid, line in scene.sandbox.living().items() if pid not in wanted | kept and alive(pid)}

    try:
        wait_until(lambda: not left(), 5)
    except AssertionError:
        raise AssertionError(f"left over: {left()}") from None


def nobody_else_was_touched(scene: Scene) -> None:
    assert scene.innocent.poll() is None, "a process that is not orch's was ended"
    assert scene.bystander.read_text() == "here\n", f"it was signalled: {scene.bystander.read_text()}"
    state = Path("/proc", str(scene.innocent.pid), "stat").read_text().rpartition(")")[2].split()[0]
    assert state != "T", "a process that is not orch's was stopped"
