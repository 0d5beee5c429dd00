"""The rules by which one of several matches wins, and what is said when there is none."""

import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator import diagnosis_data
from orchestrator.diagnosis import match
from orchestrator.diagnosis.lines import read
from orchestrator.diagnosis.match import diagnose
from orchestrator.diagnosis.model import Cure, Diagnosis, Ending, Signature

RECORDED = Path(__file__).parent.parent / "recorded"
DIED = Ending(code=1)
NO_CURE = Cure()


def signature(name: str, *patterns: str, cure: Cure = NO_CURE, **more: Any) -> Signature:
    for key in ("hints", "last", "beside"):
        more[key] = tuple(map(re.compile, more.get(key, ())))
    return Signature(name, name, "It is. It was.", tuple(map(re.compile, patterns)), cure=cure, **more)


def why(text: str, *signatures: Signature, ending: Ending = DIED, stage: Any = "", **facts: Any) -> Diagnosis:
    found = diagnose(read(text), ending, stage, signatures, facts)
    assert found == diagnose(read(text), ending, stage, signatures[::-1], facts)
    return found


def winner(text: str, *signatures: Signature, **more: Any) -> str:
    found = why(text, *signatures, **more).signature
    return found.id if found else ""


ROOT, ECHO = signature("root", "ValueError: root"), signature("echo", "RuntimeError: echo")


def test_the_process_that_failed_first_tells_more_than_the_one_that_noticed() -> None:
    text = """
(Worker_TP0 pid=3) ERROR 11-23 10:00:00 [w.py:1] KeyError: 'what'
(EngineCore pid=2) ERROR 11-23 10:00:00 [c.py:1] RuntimeError: echo
(Worker_TP0 pid=3) ERROR 11-23 10:00:01 [w.py:1] ValueError: root
"""
    assert winner(text, ROOT, ECHO) == "root"


def test_an_echo_is_no_root_even_if_it_is_printed_first() -> None:
    text = """
(EngineCore pid=2) ERROR 11-23 10:00:00 [c.py:1] EngineCore failed to start.
(EngineCore pid=2) ERROR 11-23 10:00:00 [c.py:1] RuntimeError: WorkerProc initialization failed due to an exception
(Worker_TP0 pid=3) ERROR 11-23 10:00:01 [w.py:1] ValueError: root
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.
"""
    found = why(text)
    assert [line.text for line in found.evidence] == ["ValueError: root"]


def test_of_one_process_the_first_error_wins() -> None:
    text = "(E pid=2) ValueError: root\n(E pid=2) RuntimeError: echo"
    assert winner(text, ROOT, ECHO) == "root"
    assert why(text, ROOT, ECHO).evidence[0].number == 1


def test_the_specific_wins_over_the_general_wherever_it_stands() -> None:
    general = signature("general", "CUDA error", general=True)
    specific = signature("specific", "cannot find -lcuda")
    text = "(E pid=2) RuntimeError: CUDA error\n/usr/bin/ld: cannot find -lcuda"
    assert winner(text, general, specific) == "specific"
    assert winner(text, general) == "general"


def test_what_stands_beside_decides_and_else_the_stage() -> None:
    load = signature("load", "out of memory", beside=[r", in load_model\b"], stages=("load",))
    capture = signature("capture", "out of memory", beside=[r", in capture_model\b"], stages=("capture",))
    text = (
        'Traceback (most recent call last):\n  File "a.py", line 3, in capture_model\nOutOfMemoryError: out of memory'
    )
    assert winner(text, load, capture) == "capture"
    assert winner(text, load, capture, stage="load") == "capture"
    assert winner("OutOfMemoryError: out of memory", load, capture, stage="load") == "load"
    assert winner("OutOfMemoryError: out of memory", load, capture) == ""


def test_one_that_says_less_is_out_where_both_fit() -> None:
    more = signature("more", "RuntimeError: echo", over=("root",))
    assert winner("ValueError: root\nRuntimeError: echo", ROOT, more) == "more"
    assert winner("ValueError: root", ROOT, more) == "root"


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING"])
def test_a_line_below_error_counts_only_as_a_hint_and_after_all_else(level: str) -> None:
    text = f"(E pid=1) {level} 11-23 10:00:00 [a.py:1] ValueError: root"
    hint = signature("hint", hints=["ValueError: root"])
    assert winner(text, ROOT) == ""
    assert winner(text, ROOT, hint) == "hint"
    assert winner(f"{text}\n(E pid=1) RuntimeError: echo", hint, ECHO) == "echo"


def test_what_is_tried_again_is_no_error() -> None:
    assert winner("ERROR 11-23 10:00:00 [a.py:1] ValueError: root, retrying 1 of 2", ROOT) == ""


def test_the_code_in_a_traceback_is_not_what_it_says() -> None:
    frames = (
        'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    raise ValueError("ValueError: root")\n'
    )
    assert winner(f"{frames}KeyError: 1", ROOT) == ""
    assert winner(f"{frames}ValidationError: 1 validation error for X\n  Value error, ValueError: root", ROOT) == "root"


def test_tracebacks_of_processes_that_write_at_once_are_told_apart() -> None:
    text = """
(A pid=1) Traceback (most recent call last):
(B pid=2)   Value error, ValueError: root
(A pid=1)     raise RuntimeError: echo
(A pid=1) KeyError: 1
"""
    assert winner(text, ROOT, ECHO) == "root"


def test_the_last_lines_count_for_an_engine_that_was_waited_for_and_the_latest_of_them_most() -> None:
    nccl = signature("nccl", last=["using nccl"], endings=("waited",))
    bar = signature("bar", last=["Loading"], endings=("timed_out",))
    late = Ending(timed_out=True)
    assert winner("using nccl", nccl, ending=late) == "nccl"
    assert winner("using nccl\nLoading 10%", nccl, bar, ending=late) == "bar"
    assert winner("using nccl", nccl) == ""
    assert winner("using nccl\n" + "and so on\n" * 20, nccl, ending=late) == ""
    assert winner("ValueError: root\nusing nccl", nccl, ROOT, ending=late) == "root"


def test_an_ending_by_itself_tells_more_than_a_general_pattern_and_less_than_a_specific_one() -> None:
    killed = signature("killed", endings=("signal 9", "not_oom_killed"))
    oom = signature("oom", endings=("oom_killed",))
    general = signature("general", "RuntimeError: echo", general=True)
    signatures = (killed, oom, general, ROOT)
    assert winner("RuntimeError: echo", *signatures, ending=Ending(signal=9)) == "killed"
    assert winner("RuntimeError: echo", *signatures, ending=Ending(signal=9, oom_killed=True)) == "oom"
    assert winner("RuntimeError: echo", *signatures, ending=Ending(signal=15)) == "general"
    assert winner("ValueError: root", *signatures, ending=Ending(signal=9)) == "root"


def test_an_ending_that_fits_alone_is_told_better_by_a_line() -> None:
    oom = signature("oom", r"killed process (?P<pid>\d+)", endings=("oom_killed",), alone=True)
    bound = signature("bound", r"killed process (?P<pid>\d+)", endings=("oom_killed",))
    late = Ending(signal=9, oom_killed=True)
    assert winner("RuntimeError: echo", oom, ending=late) == "oom"
    assert winner("RuntimeError: echo", bound, ending=late) == ""
    assert winner("killed process 7", oom, ending=Ending(signal=9)) == ""
    assert winner("ValueError: root", oom, ROOT, ending=late) == "root"
    found = why("ValueError: root", oom, ROOT, ending=late, kernel="killed process 7")
    assert found.signature == oom and found.evidence[0].text == "killed process 7"


def test_more_conditions_are_more_specific_and_a_fact_is_one() -> None:
    one = signature("one", last=["nccl"], endings=("timed_out",))
    two = signature("two", last=["nccl"], endings=("timed_out", "fact peers_blocked"))
    late = Ending(timed_out=True)
    assert winner("nccl", one, two, ending=late) == "one"
    assert winner("nccl", one, two, ending=late, peers_blocked="the IOMMU is on") == "two"


def test_the_kernel_is_a_witness() -> None:
    xid = signature("xid", r"Xid .*: (?P<xid>\d+)")
    found = why("RuntimeError: echo", xid, ECHO, kernel="NVRM: Xid (PCI:1): 79, gone\nNVRM: more")
    assert found.signature == xid and found.evidence[0].process == "kernel" and found.evidence[0].number == 0


def test_requests_that_failed_are_no_end() -> None:
    served = """
INFO:     Application startup complete.
(APIServer pid=1) ERROR 11-23 10:00:00 [s.py:1] ValueError: root
INFO:     127.0.0.1:4 - "POST /v1/chat/completions HTTP/1.1" 200 OK
(Worker pid=3) ERROR 11-23 11:00:00 [w.py:1] WorkerProc hit an exception.
(Worker pid=3) ERROR 11-23 11:00:00 [w.py:1] RuntimeError: echo
INFO:     127.0.0.1:4 - "GET /health HTTP/1.1" 200 OK
(EngineCore pid=2) ERROR 11-23 11:00:01 [c.py:1] EngineCore encountered a fatal error.
"""
    assert winner(served, ROOT, ECHO, ending=Ending(code=1, before_ready=False)) == "echo"


def test_that_it_was_ready_counts_where_the_log_has_lost_its_beginning() -> None:
    served = """
(APIServer pid=1) ERROR 11-23 10:00:00 [s.py:1] ValueError: root
INFO:     127.0.0.1:4 - "POST /v1/chat/completions HTTP/1.1" 200 OK
(EngineCore pid=2) ERROR 11-23 11:00:01 [c.py:1] RuntimeError: echo
"""
    assert winner(served, ROOT, ECHO, ending=Ending(code=1, before_ready=False)) == "echo"
    assert winner(served, ROOT, ECHO, ending=Ending(code=1)) == "root"


def test_of_very_many_errors_the_first_and_the_last_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match, "TRIED", 3)
    others = [f"KeyError: {number}" for number in range(8)]
    at = {place: "\n".join([*others[:place], "ValueError: root", *others[place:]]) for place in (0, 2, 4, 6, 8)}
    assert {place: winner(text, ROOT) for place, text in at.items()} == {
        0: "root",
        2: "root",
        4: "",
        6: "root",
        8: "root",
    }
    again = "\n".join(["KeyError: 1"] * 20 + ["ValueError: root"] * 20 + ["KeyError: 2"] * 20)
    found = why(again, ROOT)
    assert found.signature == ROOT and found.evidence[0].number == 21


def test_groups_of_all_lines_that_match_fill_the_cure() -> None:
    gated = signature("gated", "GatedRepoError", r"url https://hub/(?P<repo>\S+)/x", cure=Cure(command="pull {repo}"))
    assert why("GatedRepoError: 403\nCannot access url https://hub/a/b/x", gated).cure == ("pull a/b",)


def test_the_settings_that_the_log_tells_are_the_old_side_of_the_change() -> None:
    text = """(APIServer pid=1) INFO 11-23 10:00:00 [a.py:1] non-default args: {'port': 8123, 'max_model_len': 4096}
ValueError: root"""
    short = signature("short", "root", cure=Cure({"serve.max_model_len": 512, "serve.port": "{next_port}"}))
    assert why(text, short).diff == (
        "# the profile",
        "  serve:",
        "-   max_model_len: 4096",
        "+   max_model_len: 512",
        "-   port: 8123",
        "+   port: 8124",
    )
    asked = why(text, short, **{"serve.max_model_len": 2048, "profile_file": "profiles/a.yaml"})
    assert asked.diff[:3] == ("# profiles/a.yaml", "  serve:", "-   max_model_len: 2048")


def test_a_change_that_changes_nothing_or_of_unknown_value_is_none() -> None:
    cure = Cure({"serve.args.a": True, "serve.args.b": "{nobody}"}, remove=("model.quantization",))
    found = why("ValueError: root", signature("x", "root", cure=cure), **{"serve.args.a": True, "profile_file": "p"})
    assert found.changes == {} and found.diff == ()


def test_an_unknown_failure_is_its_first_error_and_a_lesson() -> None:
    text = """
(EngineCore pid=2) ERROR 11-23 10:00:00 [c.py:1] EngineCore failed to start.
(EngineCore pid=2) ERROR 11-23 10:00:00 [c.py:1] Traceback (most recent call last):
(EngineCore pid=2) ERROR 11-23 10:00:00 [c.py:1]   File "a.py", line 1, in f
(EngineCore pid=2) ERROR 11-23 10:00:00 [c.py:1] FluxError: capacitor 'c1' is at 87%
(EngineCore pid=2) ERROR 11-23 10:00:00 [c.py:1] The above exception was the direct cause of the following exception:
(EngineCore pid=2) ERROR 11-23 10:00:00 [c.py:1] StartError: no flux
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""
    found = why(text, ROOT)
    assert found.signature is None and found.final is None
    assert [line.text for line in found.evidence] == ["FluxError: capacitor 'c1' is at 87%", "StartError: no flux"]
    lesson = dict(line.split(" = ", 1) for line in found.cure[1:])
    assert found.cure[0] == "[[signature]]" and len(found.cure) == 6
    pattern = lesson["patterns"].removeprefix("['").removesuffix("']")
    assert re.search(pattern, found.evidence[0].text)


def test_of_a_real_start_that_failed_the_line_that_tells_is_shown() -> None:
    text = (RECORDED / "vllm-0.32-cpu-too-long.log").read_text(encoding="utf-8")
    found = why(text, signature("refused", r"validation errors? for (?P<what>\w+)"))
    assert [line.text[:40].strip() for line in found.evidence] == [
        "pydantic_core._pydantic_core.ValidationE",
        "Value error, User-specified max_model_",
    ]
    assert why(text).evidence[0].text.startswith("  Value error, User-specified")


@pytest.mark.parametrize(
    ("text", "ending", "title"),
    [
        ("", DIED, "it ended before it was ready, without a word about why"),
        ("INFO:     Application startup complete.", Ending(code=0), "it ended without a word about why"),
        ("hello", Ending(hung=True, before_ready=False), "it stopped serving without a word about why"),
        ("KeyError: 1", DIED, "this failure is not in the catalogue"),
    ],
)
def test_what_is_said_when_nothing_is_known(text: str, ending: Ending, title: str) -> None:
    assert why(text, ROOT, ending=ending).title == title


@pytest.mark.parametrize(
    "said",
    [
        "TypeError: Qwen2Config.__init__() got an unexpected keyword argument 'rope_theta'",
        "TypeError: FlashAttentionImpl.__init__() got an unexpected keyword argument 'sinks'",
        "TypeError: Attention.__init__() got an unexpected keyword argument 'layer_idx'",
    ],
)
def test_an_argument_of_some_class_is_no_flag(said: str) -> None:
    found = diagnose(read(said), Ending(code=1), "load", diagnosis_data.load())
    assert found.signature is None


def test_what_a_log_says_is_no_command_and_no_template() -> None:
    said = "PermissionError: [Errno 13] Permission denied: '/x; rm -rf $HOME #{python}'"
    found = diagnose(read(said), Ending(code=1), "load", diagnosis_data.load(), {"python": "/opt/python"})
    assert found.signature and found.signature.id == "cache-permission"
    assert found.cure[0] == "ls -ld '/x; rm -rf $HOME #{python}'; id"
    assert "/opt/python" not in " ".join((*found.cure, found.title))
