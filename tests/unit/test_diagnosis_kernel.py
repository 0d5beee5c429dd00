"""What the kernel's log tells of an engine. The lines are those of kernels 5.x and 6.x, as recorded or quoted."""

import pytest

from orchestrator import diagnosis_data
from orchestrator.diagnosis.kernel import concerning, killed, oom_killed, tells, without_numbers
from orchestrator.diagnosis.lines import read
from orchestrator.diagnosis.match import KERNEL, diagnose
from orchestrator.diagnosis.model import Diagnosis, Ending
from orchestrator.model import Exit

CHOSEN = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,task_memcg=/a,"
    "task=VLLM::EngineCor,pid=11110,uid=0"
)
LIMIT = (
    "Memory cgroup out of memory: Killed process 11110 (VLLM::EngineCor) total-vm:221368kB, anon-rss:32512kB, "
    "file-rss:6684kB, shmem-rss:0kB, UID:0 pgtables:124kB oom_score_adj:0"
)
WHOLE = "Out of memory: Killed process 700 (python3 (a)) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB"
FAULT = (
    "python3[11228]: segfault at 0 ip 00007f2c44d74219 sp 00007f2c445976f8 error 4 in libc.so.6[156219,7f2c44c44000]"
)
TRAP = "traps: python[21554] trap invalid opcode ip:7f41877230fd sp:7ffc06e3ae30 error:0 in libcuda.so.1[10fd,7f4187+1]"
GONE = "NVRM: Xid (PCI:0000:02:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
OWN_FAULT = "NVRM: Xid (PCI:0000:02:00): 31, pid=4000, name=python3, Ch 00000008, MMU Fault: ENGINE GRAPHICS"
LOST = "NVRM: GPU 0000:02:00.0: GPU has fallen off the bus."
TELLING = (CHOSEN, LIMIT, WHOLE, FAULT, TRAP, GONE, OWN_FAULT, LOST)


@pytest.mark.parametrize("line", TELLING)
def test_these_are_kept(line: str) -> None:
    assert tells(line)


@pytest.mark.parametrize(
    "line",
    [
        "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.54.15",
        "python3 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
        "[  11110]     0 11110    55342     9799     8128     1671         0   126976        0             0 python3",
        "systemd-journald[50]: Received client request to sync journal.",
        "",
    ],
)
def test_these_are_not(line: str) -> None:
    assert not tells(line)


@pytest.mark.parametrize(
    ("line", "process"),
    [
        (LIMIT, {11110: "VLLM::EngineCor"}),
        (CHOSEN, {11110: "VLLM::EngineCor"}),
        (WHOLE, {700: "python3 (a)"}),
        ("Killed process 5 (java), UID 1000, total-vm:1kB", {5: "java"}),
        ("Killed process 5, UID 48, (httpd) total-vm:1kB", {5: "httpd"}),
        (FAULT, {}),
        (without_numbers(LIMIT), {}),
    ],
)
def test_the_kernel_names_those_that_it_killed(line: str, process: dict[int, str]) -> None:
    assert killed([line]) == process


@pytest.mark.parametrize("line", TELLING)
def test_a_number_of_another_namespace_is_no_number_and_the_rest_stays(line: str) -> None:
    masked = without_numbers(line)
    assert tells(masked) and without_numbers(masked) == masked
    assert concerning([masked], {11110, 700, 11228, 21554, 4000}) == (
        (masked,) if "illed process" in line or "NVRM" in line else ()
    )
    assert ("?" in masked) == (line not in {GONE, LOST})


KILLED, EXITED, NOBODY = Exit(signal=9), Exit(code=1), Exit()
MINE, OTHERS, STRANGE = (LIMIT,), (WHOLE,), (without_numbers(LIMIT),)


@pytest.mark.parametrize(
    ("exit_", "kernel", "before", "after", "answer"),
    [
        (Exit(signal=9, oom_killed=True), None, None, None, True),
        (Exit(signal=9, oom_killed=True), (), 0, 0, True),
        (KILLED, MINE, None, None, True),
        (EXITED, MINE, None, None, True),
        (EXITED, (CHOSEN,), 0, 0, True),
        (KILLED, None, 0, 1, True),
        (NOBODY, None, 0, 1, True),
        (None, None, 0, 2, True),
        (KILLED, OTHERS, 3, 4, True),
        (EXITED, None, 0, 1, None),
        (EXITED, (), 0, 1, None),
        (Exit(signal=11), None, 0, 1, None),
        (KILLED, None, 1, 1, False),
        (KILLED, STRANGE, 1, 1, False),
        (KILLED, (), None, None, False),
        (KILLED, OTHERS, None, 4, False),
        (KILLED, (GONE,), None, None, False),
        (KILLED, None, None, None, None),
        (KILLED, STRANGE, None, None, None),
        (KILLED, None, 5, 1, None),
        (None, None, None, 1, None),
    ],
)
def test_who_was_killed_for_want_of_memory(
    exit_: Exit | None, kernel: tuple[str, ...] | None, before: int | None, after: int | None, answer: bool | None
) -> None:
    assert oom_killed(exit_, {4000, 11110}, kernel, before, after) is answer


def test_a_part_that_was_killed_in_a_cgroup_that_counts_more_was_killed_for_want_of_memory() -> None:
    assert oom_killed(EXITED, {4000}, None, 0, 1, part=True) is True
    assert oom_killed(EXITED, {4000}, None, 1, 1, part=True) is False
    assert oom_killed(EXITED, {4000}, (), None, None, part=True) is False


def test_what_concerns_an_engine_is_about_its_processes_or_its_cards() -> None:
    everything = TELLING
    assert concerning(everything, {4000, 11110, 21554}) == (LIMIT, TRAP, GONE, OWN_FAULT, LOST)
    assert concerning(everything, {11228}) == (FAULT, GONE, LOST)
    assert concerning([CHOSEN], {11110}) == (CHOSEN,)
    assert concerning([], {1}) == ()


def test_of_several_cards_those_of_the_engine_count() -> None:
    assert concerning([GONE, LOST], {1}, ["00000000:02:00.0"]) == (GONE, LOST)
    assert concerning([GONE, LOST], {1}, ["00000000:81:00.0"]) == ()
    assert concerning([GONE.replace("0000:02", "0001:02")], {1}, ["00000000:02:00.0"]) == ()
    assert concerning(["NVRM: Xid (PCI:0000:AF:00): 48, DBE"], {1}, ["00000000:AF:00.0"]) != ()


PART = """(EngineCore pid=11110) INFO 11-23 10:26:02 [cpu_model_runner.py:99] Starting to load model /srv/models/big...
(APIServer pid=4000) RuntimeError: Engine core initialization failed. Failed core proc(s): {'EngineCore_DP0': -9}
"""


def explained(ending: Ending, *kernel: str, log: str = PART) -> Diagnosis:
    return diagnose(read(log), ending, "", diagnosis_data.load(), {KERNEL: "\n".join(kernel)})


def why(ending: Ending, *kernel: str, log: str = PART) -> str:
    found = explained(ending, *kernel, log=log).signature
    return found.id if found else ""


@pytest.mark.parametrize("line", [LIMIT, CHOSEN, without_numbers(LIMIT)])
def test_a_part_that_the_kernel_killed_is_named_and_the_kernel_s_line_is_the_evidence(line: str) -> None:
    found = explained(Ending(code=1, oom_killed=True), line)
    assert found.signature and found.signature.id == "oom-killed"
    assert found.title == "the kernel killed it (EngineCor): the computer's memory was full"
    assert [(one.process, one.text) for one in found.evidence] == [("kernel", line)]


def test_without_the_kernel_s_log_the_count_of_the_cgroup_is_enough() -> None:
    found = explained(Ending(code=1, oom_killed=True))
    assert found.signature and found.signature.id == "oom-killed"
    assert found.title == "the kernel killed it: the computer's memory was full"


def test_what_nobody_knows_is_not_claimed() -> None:
    assert why(Ending(code=1)) == "part-killed"
    assert why(Ending(code=1, oom_killed=False)) == "part-killed"
    assert why(Ending(signal=9), log="loading") == "killed"
    assert why(Ending(signal=9, oom_killed=True), log="loading") == "oom-killed"


def test_a_crash_is_told_by_its_signal_and_better_by_the_kernel() -> None:
    assert why(Ending(signal=11), log="loading") == "killed-by-sigsegv"
    found = explained(Ending(signal=11), FAULT, log="loading")
    assert found.signature and found.signature.id == "segfault" and found.evidence[0].text == FAULT
    assert why(Ending(code=1), TRAP, log="loading") == "cpu-instruction-missing"
    assert why(Ending(signal=4), log="loading") == "killed-by-sigill"
    assert why(Ending(code=1), GONE, log="loading") == "xid"


def test_a_crash_at_the_end_does_not_hide_what_came_first() -> None:
    log = "(EngineCore pid=2) ERROR 11-23 10:00:00 [c.py:1] ModuleNotFoundError: No module named 'einops'"
    assert why(Ending(signal=11), FAULT, log=log) == "package-missing"
    assert why(Ending(signal=11), log=log) == "package-missing"
