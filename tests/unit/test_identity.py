"""Which processes are provably ours. A false positive here kills a stranger's work."""

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.identity import Family, adopted, families
from orchestrator.model import Marker, Process

OURS = Marker("lab", "qwen", "1")
NEXT = Marker("lab", "qwen", "2")
OTHER_NAME = Marker("lab", "llama", "3")
OTHER_PROJECT = Marker("elsewhere", "qwen", "4")
PIDS = range(1, 10)


@st.composite
def tables(draw: st.DrawFn) -> list[Process]:
    """Any rows at all, even ones no kernel would show: few pids, so that sessions and reused pids meet."""
    markers = st.none() | st.sampled_from((OURS, NEXT, OTHER_NAME, OTHER_PROJECT))
    return [
        Process(
            pid,
            draw(st.integers(0, 3)),
            draw(st.just(pid) | st.sampled_from(PIDS)),
            "x",
            draw(markers),
            draw(st.sampled_from((0, *PIDS))),
            draw(st.booleans()) if draw(st.booleans()) else False,
        )
        for pid in draw(st.lists(st.sampled_from(PIDS), unique=True))
    ]


leaders = st.dictionaries(st.sampled_from(("1", "2", "3", "4")), st.sampled_from(PIDS))


def _members(family: Family) -> tuple[Process, ...]:
    return ((family.leader,) if family.leader else ()) + family.children


@given(tables(), leaders)
def test_an_unmarked_process_is_ours_only_in_a_proven_session(rows: list[Process], recorded: dict[str, int]) -> None:
    alive = [row for row in rows if not row.zombie]
    for family in families(rows, "lab", recorded):
        for row in (row for row in _members(family) if row.marker is None):
            marked = [one for one in alive if one.marker == family.marker and one.session == row.session]
            led = any(one.pid == row.session for one in marked)
            held = bool(marked) and recorded.get(family.marker.attempt) == row.session
            assert led or held


@given(tables(), leaders)
def test_no_process_is_claimed_twice(rows: list[Process], recorded: dict[str, int]) -> None:
    claims = Counter(row.pid for family in families(rows, "lab", recorded) for row in _members(family))
    assert set(claims.values()) <= {1}


@given(tables(), leaders)
def test_the_dead_and_other_projects_are_left_alone(rows: list[Process], recorded: dict[str, int]) -> None:
    led_elsewhere = {
        row.pid for row in rows if not row.zombie and row.marker == OTHER_PROJECT and row.pid == row.session
    }
    for family in families(rows, "lab", recorded):
        assert family.marker.project == "lab"
        for row in _members(family):
            assert not row.zombie
            assert row.marker in {None, family.marker}
            assert row.marker or row.session not in led_elsewhere


@given(tables(), leaders)
def test_every_living_marked_process_is_in_the_family_of_its_marker(
    rows: list[Process], recorded: dict[str, int]
) -> None:
    found = {row.pid: family.marker for family in families(rows, "lab", recorded) for row in _members(family)}
    marked = {row.pid: row.marker for row in rows if row.marker and row.marker.project == "lab" and not row.zombie}
    assert marked.items() <= found.items()


@given(tables(), leaders, st.data())
def test_the_order_of_rows_does_not_matter(rows: list[Process], recorded: dict[str, int], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(rows))
    assert families(shuffled, "lab", recorded) == families(rows, "lab", recorded)


@given(tables(), leaders)
def test_a_leader_is_the_recorded_one_or_leads_its_session(rows: list[Process], recorded: dict[str, int]) -> None:
    for family in families(rows, "lab", recorded):
        if family.leader and family.marker.attempt in recorded:
            assert family.leader.pid == recorded[family.marker.attempt]
        elif family.leader:
            assert family.leader.pid == family.leader.session


# ---------------------------------------------------------------------------------------------------------- examples

SERVER = Process(100, 10, 100, "vllm", OURS, parent=1)
CORE = Process(101, 11, 100, "VLLM::EngineCore", OURS, parent=100)
WORKER = Process(102, 12, 100, "VLLM::Worker", OURS, parent=101)
SHELL = Process(50, 1, 50, "bash", None, parent=1)


def _pids(rows: Sequence[Process], recorded: dict[str, int] | None = None) -> list[tuple[int | None, list[int]]]:
    found = families(rows, "lab", recorded or {})
    return [(one.leader.pid if one.leader else None, [row.pid for row in one.children]) for one in found]


def test_a_whole_engine() -> None:
    assert _pids([SHELL, WORKER, CORE, SERVER], {"1": 100}) == [(100, [101, 102])]


def test_it_is_found_without_any_state() -> None:
    assert _pids([SHELL, WORKER, CORE, SERVER]) == [(100, [101, 102])]


def test_a_killed_leader_leaves_its_core_and_worker() -> None:
    for recorded in ({}, {"1": 100}):
        assert _pids([SHELL, CORE, WORKER], recorded) == [(None, [101, 102])]


def test_a_leader_nobody_has_waited_for_yet_is_gone() -> None:
    dead = Process(100, 10, 100, "vllm", None, parent=1, zombie=True)
    assert _pids([dead, CORE, WORKER], {"1": 100}) == [(None, [101, 102])]


def test_a_blanked_environment_in_the_session_of_a_living_leader() -> None:
    blank = Process(101, 11, 100, "VLLM::EngineCore", None, parent=100)
    assert _pids([SERVER, blank]) == [(100, [101])]


def test_a_blanked_environment_after_the_leader_is_proven_by_the_record_and_a_marked_member() -> None:
    blank = Process(101, 11, 100, "VLLM::EngineCore", None, parent=1)
    assert _pids([blank, WORKER], {"1": 100}) == [(None, [101, 102])]
    assert _pids([blank, WORKER]) == [(None, [102])]
    assert _pids([blank], {"1": 100}) == []


def test_a_recorded_pid_that_lives_without_a_mark_proves_nothing() -> None:
    """Whoever reads /proc signs a leader that blanked its environment, by its start time; this one was not signed."""
    reused = Process(100, 900, 100, "vllm", None, parent=1)
    assert _pids([reused, CORE], {"1": 100}) == [(None, [101])]
    assert _pids([reused, CORE]) == [(None, [101])]


def test_a_marker_copied_into_a_login_shell_proves_nothing_about_the_shell() -> None:
    copied = Process(51, 20, 50, "python", OURS, parent=50)
    neighbour = Process(52, 21, 50, "vim", None, parent=50)
    assert _pids([SHELL, copied, neighbour], {"1": 100}) == [(None, [51])]


def test_the_recorded_pid_now_belongs_to_a_stranger() -> None:
    stranger = Process(100, 900, 100, "bash", None, parent=1)
    his = Process(103, 901, 100, "vim", None, parent=100)
    moved = Process(101, 11, 101, "VLLM::EngineCore", OURS, parent=1)
    assert _pids([stranger, his, moved], {"1": 100}) == [(None, [101])]


def test_a_child_with_a_session_of_its_own_is_not_the_leader() -> None:
    detached = Process(103, 5, 103, "ray", OURS, parent=100)
    assert _pids([SERVER, detached]) == [(100, [103])]


def test_two_starts_of_one_name_are_two_families() -> None:
    second = Process(200, 30, 200, "vllm", NEXT, parent=1)
    assert _pids([second, SERVER, CORE], {"2": 200}) == [(100, [101]), (200, [])]


def test_a_session_that_two_starts_could_claim_is_nobodys() -> None:
    one, two = Process(101, 1, 100, "a", OURS), Process(102, 1, 100, "b", NEXT)
    unmarked = Process(103, 1, 100, "c", None)
    assert _pids([one, two, unmarked], {"1": 100, "2": 100}) == [(None, [101]), (None, [102])]
    assert _pids([one, two, unmarked], {"1": 100, "2": 200}) == [(None, [101, 103]), (None, [102])]


# -------------------------------------------------------------------------------------------------------- adopted ones

roots = st.tuples(st.sampled_from(PIDS), st.integers(0, 3))


@given(tables(), roots, st.lists(roots))
def test_an_adopted_family_is_what_was_recorded_and_its_descendants(
    rows: list[Process], leader: tuple[int, int], known: list[tuple[int, int]]
) -> None:
    by_pid = {row.pid: row for row in rows}
    family = adopted(rows, OURS, leader, known)
    for row in _members(family) if family else ():
        assert not row.zombie
        assert row.marker is None
        seen, at = set[int](), row
        while (at.pid, at.start) not in {leader, *known}:
            assert at.pid not in seen
            seen.add(at.pid)
            parent = by_pid[at.parent]
            assert parent.start <= at.start
            at = parent
    if family and family.leader:
        assert (family.leader.pid, family.leader.start) == leader


@given(tables(), roots, st.lists(roots), st.data())
def test_an_adopted_family_is_complete_each_once_and_in_no_order(
    rows: list[Process], leader: tuple[int, int], known: list[tuple[int, int]], data: st.DataObject
) -> None:
    family = adopted(rows, OURS, leader, known)
    members = _members(family) if family else ()
    assert len(set(members)) == len(members)
    alive = [row for row in rows if not row.zombie and row.marker is None]
    for row in alive:
        proven = (row.pid, row.start) in {leader, *known}
        born = any(one.pid == row.parent and one.start <= row.start for one in members)
        assert (row in members) == (proven or born)
    assert adopted(data.draw(st.permutations(rows)), OURS, leader, known) == family


HAND = Process(200, 20, 50, "vllm", None, parent=50)
HAND_CORE = Process(201, 21, 50, "VLLM::EngineCore", None, parent=200)
HAND_WORKER = Process(202, 22, 50, "VLLM::Worker", None, parent=201)
NEIGHBOUR = Process(60, 19, 50, "vim", None, parent=50)


def test_of_an_adopted_engine_in_a_shell_nothing_else_of_the_shell_is_ours() -> None:
    rows = [SHELL, NEIGHBOUR, HAND_WORKER, HAND_CORE, HAND]
    assert adopted(rows, OURS, (200, 20)) == Family(OURS, HAND, (HAND_CORE, HAND_WORKER))
    assert families(rows, "lab", {"1": 200}) == ()


def test_what_an_adopted_api_server_leaves_behind_is_proven_by_the_record() -> None:
    orphan = Process(201, 21, 50, "VLLM::EngineCore", None, parent=1)
    rows = [SHELL, NEIGHBOUR, orphan, HAND_WORKER]
    assert adopted(rows, OURS, (200, 20), [(201, 21)]) == Family(OURS, None, (orphan, HAND_WORKER))
    assert adopted(rows, OURS, (200, 20)) is None
    assert adopted(rows, OURS, (200, 20), [(201, 20)]) is None


def test_a_reused_pid_of_an_adopted_engine_proves_nothing() -> None:
    stranger = Process(200, 900, 200, "bash", None, parent=1)
    his = Process(203, 901, 200, "vim", None, parent=200)
    assert adopted([stranger, his], OURS, (200, 20)) is None


def test_an_engine_of_orchs_below_an_adopted_one_stays_its_own() -> None:
    inner = Process(210, 30, 210, "vllm", NEXT, parent=200)
    its_own = Process(211, 31, 210, "VLLM::EngineCore", None, parent=210)
    assert adopted([HAND, inner, its_own], OURS, (200, 20)) == Family(OURS, HAND, ())
