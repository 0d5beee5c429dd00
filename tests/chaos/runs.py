"""The scenarios by name, and one run of one of them."""

from collections.abc import Callable

from chaos import invariants, killed_engine, killed_orch, state_files, times, together, watching
from chaos.mounts import inside, play_inside
from chaos.scene import Scene, Workshop, opened

Scenario = Callable[[Scene], None]

SCENARIOS: dict[str, Scenario] = {
    one.__name__.replace("_", "-"): one
    for one in (
        killed_orch.apply_killed,
        killed_orch.apply_killed_as_an_engine_is_born,
        killed_orch.restart_killed,
        killed_orch.stop_killed,
        killed_orch.delete_killed,
        killed_orch.rollback_killed,
        killed_orch.killed_again_and_again,
        killed_engine.api_server_killed,
        killed_engine.engine_core_killed,
        killed_engine.api_server_and_engine_core_killed,
        killed_engine.engine_killed_while_it_starts,
        killed_engine.engine_killed_under_the_hands_of_orch,
        killed_engine.engine_stopped_and_continued,
        killed_engine.engine_stopped_for_good,
        state_files.files_damaged,
        state_files.records_damaged,
        state_files.files_removed,
        state_files.state_removed,
        state_files.state_read_only,
        state_files.disk_full,
        times.clock_jumped,
        times.pid_reused,
        times.rebooted,
        times.boot_id_forged,
        together.applies_at_once,
        together.apply_and_stop_at_once,
        together.everything_at_once,
        together.killed_beside_another,
        watching.watcher_killed,
        watching.watcher_told_to_end,
        watching.watched_twice,
        watching.crashed_under_watch,
        watching.crashed_again_and_again_under_watch,
        watching.stopped_under_watch,
        watching.clock_jumps_under_watch,
        watching.state_damaged_under_watch,
        watching.rebooted_under_watch,
        watching.edited_under_watch,
        watching.all_at_once_under_watch,
    )
}
WITH_MOUNTS = {"state-read-only", "disk-full"}
SHORT = (  # one of each kind: what `make test` has the time for
    "apply-killed",
    "apply-killed-as-an-engine-is-born",
    "delete-killed",
    "rollback-killed",
    "api-server-killed",
    "engine-killed-while-it-starts",
    "engine-stopped-and-continued",
    "files-damaged",
    "state-removed",
    "state-read-only",
    "disk-full",
    "clock-jumped",
    "pid-reused",
    "rebooted",
    "applies-at-once",
    "watcher-killed",
    "watched-twice",
    "crashed-under-watch",
    "clock-jumps-under-watch",
    "all-at-once-under-watch",
)
QUICK = [name for name in SCENARIOS if name != "stopped-under-watch"]  # a watcher looks every half minute


def play(name: str, seed: int, workshop: Workshop) -> None:
    """Raises AssertionError, with the story, when something does not hold afterwards; Missing when this machine
    cannot have it."""
    if name in WITH_MOUNTS and not inside():
        play_inside(name, seed, workshop.folder)
        return
    with opened(workshop, name, seed) as scene:
        try:
            SCENARIOS[name](scene)
            invariants.check(scene)
        except Exception as error:
            story = "\n".join(f"  {line}" for line in scene.story)
            raise AssertionError(f"{type(error).__name__}: {error}\n{story}") from error
