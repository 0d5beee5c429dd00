from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.diagnosis.lines import read
from orchestrator.diagnosis.model import Line

RECORDED = Path(__file__).parent.parent / "recorded"
BOOM = "RuntimeError: boom"


@pytest.mark.parametrize(
    ("raw", "process", "pid", "level"),
    [
        (f"(APIServer pid=5167) INFO 11-23 10:22:14 [api_utils.py:347] {BOOM}", "APIServer", 5167, "INFO"),
        (f"(EngineCore_DP0 pid=940) ERROR 02-24 20:21:58 [core.py:708] {BOOM}", "EngineCore_DP0", 940, "ERROR"),
        (f"(EngineCore_0 pid=2) {BOOM}", "EngineCore_0", 2, ""),
        (
            f"(VllmWorker rank=0 pid=3) ERROR 06-20 12:27:37 [multiproc_executor.py:527] {BOOM}",
            "VllmWorker",
            3,
            "ERROR",
        ),
        (f"(Worker pid=7) (Worker_TP1 pid=7) ERROR 03-05 09:56:09 [x.py:880] {BOOM}", "Worker_TP1", 7, "ERROR"),
        (
            f"(EngineCore pid=6) DEBUG 08-09 20:55:03 [distributed/state.py:1563] {BOOM}",
            "EngineCore",
            6,
            "DEBUG",
        ),
        (f"(RayWorkerWrapper pid=37, ip=10.10.10.61) {BOOM}", "RayWorkerWrapper", 37, ""),
        (f"(MapWorker(MapBatches(UDF)) pid=1) (Worker pid=2) INFO 09-23 17:01:42 [g.py:2] {BOOM}", "Worker", 2, "INFO"),
        (f"ERROR:    (Worker_TP1 pid=35) ERROR 10-11 22:28:17 [x.py:694] {BOOM}", "Worker_TP1", 35, "ERROR"),
        (f"ERROR 04-27 09:07:04 [engine.py:160] {BOOM}", "", 0, "ERROR"),
        (f"ERROR 11-18 18:07:28 engine.py:366] {BOOM}", "", 0, "ERROR"),
        (f"ERROR:    {BOOM}", "", 0, "ERROR"),
        (f"[rank0]: {BOOM}", "", 0, ""),
        (f"vllm-1  | ERROR 11-18 18:07:28 [engine.py:366] {BOOM}", "", 0, "ERROR"),
        (f"2024-06-28T06:11:52.685300953Z (Actor pid=20) INFO 06-28 06:11:45 [x.py:45] {BOOM}", "Actor", 20, "INFO"),
        (f"[2026-02-24T20:21:58Z] (EngineCore_DP0 pid=69) {BOOM}", "EngineCore_DP0", 69, ""),
        (f"Aug 19 18:34:27 host vllm[8727]: (EngineCore pid=87) {BOOM}", "EngineCore", 87, ""),
        (f"\x1b[0;36m(APIServer pid=36)\x1b[0;0m {BOOM}", "APIServer", 36, ""),
        (f"\x1b[31mERROR\x1b[0m \x1b[90m04-27 09:07:04\x1b[0m \x1b[90m[engine.py:160]\x1b[0m {BOOM}", "", 0, "ERROR"),
        (f"shards:   0% 0/1 [00:00<?, ?it/s]ERROR 09-24 02:53:53 [engine.py:467] {BOOM}", "", 0, "ERROR"),
        (f"Capturing:   0%|   | 0/11 [00:00<?, ?it/s](VllmWorkerProcess pid=21) {BOOM}", "VllmWorkerProcess", 21, ""),
        (f"19.18\t(APIServer pid=13) WARNING 11-24 14:36:09 [api_utils.py:347] {BOOM}", "APIServer", 13, "WARNING"),
        (f"[blue] (EngineCore pid=4) ERROR 11-24 14:36:09 [core.py:3] {BOOM}", "EngineCore", 4, "ERROR"),
        (BOOM, "", 0, ""),
    ],
)
def test_a_line_is_found_in_whatever_wrapped_it(raw: str, process: str, pid: int, level: str) -> None:
    assert read(raw) == (Line(1, BOOM, process, pid, level),)


def test_the_indent_of_a_traceback_stays() -> None:
    assert read('(E pid=1) ERROR 11-05 12:19:32 [core.py:708]   File "a.py", line 1')[0].text == '  File "a.py", line 1'
    assert read("(EngineCore pid=1) ERROR 11-05 12:19:32 [core.py:708]") == ()


def test_a_bar_is_its_last_state_and_what_stands_between_its_states_is_kept() -> None:
    bar = [f"Loading: {step}0%|x| {step}/9 [00:01<00:02, 3.1it/s]" for step in range(1, 4)]
    text = f"one\n{bar[0]}\r{bar[1]}\r(E pid=3) ERROR 11-23 10:25:42 [c.py:1] {BOOM}\r{bar[2]}\r\ntwo"
    assert read(text) == (
        Line(1, "one"),
        Line(2, BOOM, "E", 3, "ERROR"),
        Line(2, bar[2]),
        Line(3, "two"),
    )


def test_numbers_are_those_of_an_editor() -> None:
    text = (RECORDED / "vllm-0.32-cpu-ready.log").read_text(encoding="utf-8")
    wanted = next(number for number, line in enumerate(text.split("\n"), 1) if "Application startup" in line)
    assert [line.number for line in read(text) if line.text == "Application startup complete."] == [wanted]
    assert {line.process for line in read(text)} >= {"APIServer", "EngineCore", "Worker"}


@given(st.integers(0, 9), st.text(st.sampled_from("ab \n\r")))
def test_blank_lines_in_front_count(blank: int, text: str) -> None:
    moved = [(line.number - blank, line.text) for line in read("\n" * blank + text)]
    assert moved == [(line.number, line.text) for line in read(text)]


def test_a_warning_of_python_is_one() -> None:
    assert read("/e/torch/cuda/__init__.py:124: UserWarning: CUDA initialization: too old")[0].level == "WARNING"


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    for line in read(text):
        assert line.text.strip() and "\n" not in line.text and "\x1b" not in line.text
        assert 1 <= line.number <= text.count("\n") + 1
