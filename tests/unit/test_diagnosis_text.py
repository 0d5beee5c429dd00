from pathlib import Path
from typing import Any

import golden
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import diagnosis_data
from orchestrator.diagnosis.lines import read
from orchestrator.diagnosis.match import diagnose
from orchestrator.diagnosis.model import Diagnosis, Ending, Line, Signature
from orchestrator.diagnosis.text import MOST, WIDTH, diagnosis_text, ended

RECORDED = Path(__file__).parent.parent / "recorded"
CATALOGUE = diagnosis_data.load()
EXAMPLES = {one.id: one.example for one in CATALOGUE}
QWEN = {
    "name": "qwen",
    "environment": "gpu",
    "profile_file": "profiles/qwen.yaml",
    "environment_file": "environments/gpu.yaml",
    "serve.max_model_len": 262144,
    "serve.port": 8000,
    "serve.gpu_memory_utilization": 0.9,
}
UNKNOWN = """
(EngineCore pid=2) ERROR 11-23 10:00:00 [c.py:1] EngineCore failed to start.
(EngineCore pid=2) ERROR 11-23 10:00:00 [c.py:1] FluxError: capacitor 'c1' is at 87%
(EngineCore pid=2) ERROR 11-23 10:00:00 [c.py:1] StartError: no flux
"""
TEXTS: dict[str, tuple[str, Any, Ending, dict[str, Any]]] = {
    "context": (EXAMPLES["kv-cache-too-small"], "profiling", Ending(code=1), QWEN),
    "context-of-a-real-one": (
        (RECORDED / "vllm-0.32-cpu-too-long.log").read_text(encoding="utf-8"),
        "config",
        Ending(code=1),
        {},
    ),
    "port": (EXAMPLES["port-taken"], "config", Ending(code=1), QWEN),
    "who-holds-it": (
        EXAMPLES["card-not-free"],
        "load",
        Ending(code=1),
        {**QWEN, "holders": "pid 4711 python of ann: 19.8 GiB"},
    ),
    "link": (EXAMPLES["lcuda-not-linked"], "compile", Ending(code=1), QWEN),
    "gated": (EXAMPLES["repo-gated"], "config", Ending(code=1), QWEN),
    "two-files": (EXAMPLES["p2p-broken"], "load", Ending(timed_out=True), QWEN),
    "long-title": (EXAMPLES["offline-not-cached"], "config", Ending(code=1), QWEN),
    "memory-of-the-computer": (EXAMPLES["oom-killed"], "load", Ending(signal=9, oom_killed=True), QWEN),
    "no-word": ("", "", Ending(signal=15), QWEN),
    "unknown": (UNKNOWN, "load", Ending(code=1), QWEN),
}


@pytest.mark.parametrize("name", TEXTS)
def test_it_reads_like_this(name: str) -> None:
    text, stage, ending, facts = TEXTS[name]
    diagnosis = diagnose(read(text), ending, stage, CATALOGUE, facts)
    lines = diagnosis_text(diagnosis, ending, "cannot start qwen: ", "~/.local/state/orch/qwen/3.log")
    assert len(lines) <= MOST
    golden.check("diagnosis", name, "\n".join(lines))


def test_every_text_is_of_a_case_here() -> None:
    assert golden.unused("diagnosis", set(TEXTS)) == set()


def test_an_ending_is_told_in_words() -> None:
    assert ended(Ending()) == ""
    assert ended(Ending(code=3)) == "exit status 3"
    assert ended(Ending(signal=11)) == "killed by SIGSEGV"
    assert ended(Ending(signal=40)) == "killed by signal 40"
    assert ended(Ending(signal=9, oom_killed=True)) == "killed by the kernel for want of memory"
    assert ended(Ending(hung=True)) == "hung"


ENDINGS = st.builds(
    Ending,
    code=st.none() | st.integers(-300, 300),
    signal=st.none() | st.integers(0, 64),
    oom_killed=st.none() | st.booleans(),
    before_ready=st.booleans(),
    timed_out=st.booleans(),
    hung=st.booleans(),
)
PIECES = st.sampled_from(
    [
        *(line for example in EXAMPLES.values() for line in example.strip().split("\n")),
        "Traceback (most recent call last):",
        "INFO:     Application startup complete.",
        'INFO:     1.2.3.4:5 - "GET /health HTTP/1.1" 200 OK',
        "(EngineCore pid=2) ERROR 11-23 10:00:00 [c.py:1] ",
    ]
)
LOGS = st.text() | st.lists(st.text(max_size=60) | PIECES, max_size=12).map("\n".join)


@settings(max_examples=200, deadline=None)
@given(LOGS, ENDINGS, st.sampled_from(["", "load", "serving"]), st.text(max_size=200), st.text(max_size=200))
def test_of_any_log_at_most_twelve_lines_come_out(
    log: str, ending: Ending, stage: Any, kernel: str, subject: str
) -> None:
    diagnosis = diagnose(read(log), ending, stage, CATALOGUE, {"kernel": kernel, "name": subject})
    lines = diagnosis_text(diagnosis, ending, subject, subject)
    assert 1 <= len(lines) <= MOST
    assert all(len(line) <= WIDTH and line.isprintable() for line in lines)


LONG = st.text(max_size=600)


@given(LONG, LONG, st.lists(LONG, max_size=4), st.lists(LONG, max_size=15), st.lists(LONG, max_size=4), LONG)
def test_of_any_diagnosis_at_most_twelve_lines_come_out(
    title: str, means: str, cure: list[str], diff: list[str], evidence: list[str], issue: str
) -> None:
    diagnosis = Diagnosis(
        Signature("a", title, means),
        "",
        title,
        tuple(Line(number, text) for number, text in enumerate(evidence)),
        means,
        tuple(cure),
        tuple(diff),
        issues=(issue,),
        final=True,
    )
    lines = diagnosis_text(diagnosis)
    assert len(lines) <= MOST
    assert all(len(line) <= WIDTH and line.isprintable() for line in lines)
