"""The stages of a start, by what real engines wrote: two starts of vLLM 0.32 on a processor, recorded with the second
at which each line came, and starts on cards in the words that the source of three versions has for them."""

import itertools
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.diagnosis.pieces import LONGEST, Pieces
from orchestrator.diagnosis.stage_patterns import read_stages
from orchestrator.diagnosis.stages import Progress, advance, begin, replay, spent, stamp
from orchestrator.stage_data import load_stages

RECORDED = Path(__file__).resolve().parents[1] / "recorded"
ALL = load_stages()
GIB = 1 << 30

GPU_0_10 = """\
  9.0 INFO 09-20 10:00:09 [__init__.py:216] Automatically detected platform cuda.
 14.0 (APIServer pid=7) INFO 09-20 10:00:14 [api_server.py:1896] vLLM API server version 0.10.2
 15.0 (APIServer pid=7) INFO 09-20 10:00:15 [__init__.py:742] Resolved architecture: Qwen3ForCausalLM
 24.0 (EngineCore_DP0 pid=9) INFO 09-20 10:00:24 [core.py:76] Initializing a V1 LLM engine (v0.10.2) with config: \
model='m', enforce_eager=False, device_config=cuda, compilation_config={"level":3,"debug_dump_path":""}
 33.0 (Worker_TP0 pid=11) INFO 09-20 10:00:33 [gpu_model_runner.py:2338] Starting to load model m...
 33.0 (Worker_TP1 pid=12) INFO 09-20 10:00:33 [gpu_model_runner.py:2338] Starting to load model m...
 34.0 (Worker_TP0 pid=11) \rLoading safetensors checkpoint shards:   0% Completed | 0/17 [00:00<?, ?it/s]
 44.0 (Worker_TP0 pid=11) \rLoading safetensors checkpoint shards:  59% Completed | 10/17 [00:10<00:07,  1.00s/it]
 51.0 (Worker_TP0 pid=11) \rLoading safetensors checkpoint shards: 100% Completed | 17/17 [00:17<00:00,  1.00s/it]
 52.0 (Worker_TP0 pid=11) INFO 09-20 10:00:52 [default_loader.py:268] Loading weights took 17.11 seconds
 53.0 (Worker_TP1 pid=12) INFO 09-20 10:00:53 [gpu_model_runner.py:2392] Model loading took 30.6100 GiB and 19.2 seconds
 53.0 (Worker_TP0 pid=11) INFO 09-20 10:00:53 [gpu_model_runner.py:2392] Model loading took 30.5900 GiB and 18.9 seconds
 61.0 (Worker_TP0 pid=11) INFO 09-20 10:01:01 [backends.py:550] Dynamo bytecode transform time: 7.51 s
 88.0 (Worker_TP0 pid=11) INFO 09-20 10:01:28 [backends.py:215] Compiling a graph for dynamic shape takes 26.10 s
 95.0 (Worker_TP0 pid=11) INFO 09-20 10:01:35 [monitor.py:34] torch.compile takes 33.61 s in total
 97.0 (Worker_TP1 pid=12) INFO 09-20 10:01:37 [gpu_worker.py:298] Available KV cache memory: 11.40 GiB
 97.0 (Worker_TP0 pid=11) INFO 09-20 10:01:37 [gpu_worker.py:298] Available KV cache memory: 11.42 GiB
 98.0 (EngineCore_DP0 pid=9) INFO 09-20 10:01:38 [kv_cache_utils.py:864] GPU KV cache size: 93,392 tokens
 98.0 (EngineCore_DP0 pid=9) INFO 09-20 10:01:38 [kv_cache_utils.py:868] Maximum concurrency for 40,960 tokens per \
request: 2.28x
 99.0 (Worker_TP0 pid=11) \rCapturing CUDA graphs (mixed prefill-decode, PIECEWISE):   0%|          | 0/67 [00:00<?]
101.0 (Worker_TP0 pid=11) \rCapturing CUDA graphs (mixed prefill-decode, PIECEWISE):  52%|##  | 35/67 [00:02<00:02]
104.0 (Worker_TP0 pid=11) \rCapturing CUDA graphs (decode, FULL): 100%|####| 67/67 [00:01<00:00, 40it/s]\
(Worker_TP0 pid=11) INFO 09-20 10:01:44 [gpu_model_runner.py:3118] Graph capturing finished in 5 secs, took 0.62 GiB
105.0 (EngineCore_DP0 pid=9) INFO 09-20 10:01:45 [core.py:218] init engine (profile, create kv cache, warmup model) \
took 51.90 seconds
107.0 (APIServer pid=7) INFO 09-20 10:01:47 [api_server.py:1971] Starting vLLM API server 0 on http://127.0.0.1:8000
108.0 (APIServer pid=7) INFO:     Application startup complete.
"""

EAGER_0_17 = """\
 10.0 (APIServer pid=7) INFO 03-01 10:00:10 [utils.py:282] vLLM server version 0.17.0, serving model m
 16.0 (EngineCore pid=9) INFO 03-01 10:00:16 [core.py:99] Initializing a V1 LLM engine (v0.17.0) with config: \
model='m', enforce_eager=True, device_config=cuda
 20.0 (EngineCore pid=9) INFO 03-01 10:00:20 [gpu_model_runner.py:4256] Starting to load model m...
 30.0 (EngineCore pid=9) INFO 03-01 10:00:30 [model_runner.py:258] Model loading took 15.27 GiB memory and 9 seconds
 34.0 (EngineCore pid=9) INFO 03-01 10:00:34 [gpu_worker.py:425] Available KV cache memory: 26.75 GiB
 34.0 (EngineCore pid=9) INFO 03-01 10:00:34 [kv_cache_utils.py:1314] GPU KV cache size: 194,784 tokens
 36.0 (EngineCore pid=9) \rDeepGEMM warmup:  25%|##5       | 50/200 [00:01<00:04, 33it/s]
 41.0 (EngineCore pid=9) INFO 03-01 10:00:41 [core.py:283] init engine (profile, create kv cache, warmup model) took \
10.8 seconds
 43.0 INFO:     Application startup complete.
"""

RUNNER_2_0_32 = """\
 10.0 (APIServer pid=7) INFO 11-01 10:00:10 [api_utils.py:286] non-default args: {'model': 'm'}
 20.0 (EngineCore pid=9) INFO 11-01 10:00:20 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: \
enforce_eager=False, device_config=cuda, compilation_config={'mode': <CompilationMode.VLLM_COMPILE: 3>}
 24.0 (EngineCore pid=9) INFO 11-01 10:00:24 [model_runner.py:392] Loading model from scratch...
 25.0 (EngineCore pid=9) INFO 11-01 10:00:25 [weight_utils.py:1108] Filesystem type for checkpoints: EXT4. \
Checkpoint size: 61.00 GiB. Available RAM: 400.00 GiB.
 26.0 Loading safetensors checkpoint shards:   0% Completed | 0/2 [00:00<?, ?it/s]
 36.0 Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:10<00:10, 10.00s/it]
 46.0 Loading safetensors checkpoint shards: 100% Completed | 2/2 [00:20<00:00, 10.00s/it]
 46.0 Loading safetensors checkpoint shards: 100% Completed | 2/2 [00:20<00:00, 10.00s/it]
 48.0 (EngineCore pid=9) INFO 11-01 10:00:48 [model_runner.py:425] Model loading took 61.02 GiB memory and 24.0 seconds
 50.0 (EngineCore pid=9) INFO 11-01 10:00:50 [monitor.py:40] [backbone] Starting torch.compile
 70.0 (EngineCore pid=9) INFO 11-01 10:01:10 [monitor.py:64] [backbone] torch.compile took 20.00 s in total
 71.0 Capturing CUDA graphs (FULL):  50%|#####     | 1/2 [00:00<00:00, 9it/s]
 73.0 (EngineCore pid=9) INFO 11-01 10:01:13 [gpu_worker.py:760] Available KV cache memory: 9.10 GiB
 73.0 (EngineCore pid=9) INFO 11-01 10:01:13 [kv_cache_utils.py:2327] GPU KV cache size: 37,264 tokens, Maximum \
concurrency for 32,768 tokens per request: 1.14x
 74.0 (EngineCore pid=9) INFO 11-01 10:01:14 [kernel_warmup.py:176] JIT kernel warmup starting.
 80.0 Capturing CUDA graphs (PIECEWISE):  10%|#         | 5/51 [00:00<00:04, 10it/s]
 86.0 (EngineCore pid=9) INFO 11-01 10:01:26 [model_runner.py:1128] Graph capturing finished in 6 secs, took -0.02 GiB
 88.0 INFO:     Application startup complete.
"""


def rows(text: str) -> list[tuple[float, str]]:
    """(second, what came then), of a recorded log or one above."""
    split = (line.replace("\t", " ").lstrip().partition(" ") for line in text.split("\n") if line)
    return [(float(at), piece) for at, _, said in split for piece in said.split("\r")]


def recorded(name: str) -> list[tuple[float, str]]:
    return rows((RECORDED / f"vllm-0.32-cpu-stages-{name}.log").read_bytes().decode())


def walk(lines: list[tuple[float, str]], version: str = "") -> list[Progress]:
    """What was known after each line."""
    stages = load_stages(version)
    return list(
        itertools.accumulate(
            lines, lambda so_far, one: advance(stages, so_far, one[1], one[0]), initial=begin(stages, 0.0)
        )
    )


def stages_of(walked: list[Progress]) -> list[tuple[str, float]]:
    """Each step's stage and when it began."""
    begun = {one.step: (one.stage, one.since) for one in walked}
    return [begun[step] for step in sorted(begun)]


def known_at(walked: list[Progress], at: float) -> Progress:
    return [one for one in walked if one.at <= at][-1]


def test_a_real_start_without_compilation_must_go_through_its_stages() -> None:
    walked = walk(recorded("eager"), "0.32.0")
    assert stages_of(walked) == [
        ("environment", 0.0),
        ("imports", 15.02),
        ("config", 19.2),
        ("load", 73.35),
        ("warmup", 78.53),
        ("warmup", 80.79),
        ("serving", 83.68),
    ]
    assert sum(walked[-1].seconds.values()) == pytest.approx(83.68)
    assert {name: one.value for name, one in walked[-1].measured.items()} == {
        "checkpoint": 0.0,
        "read": 0.02,
        "kv_cache": GIB,
        "kv_cache_tokens": 2097152,
        "concurrency": 8192,
        "init": 2.27,
    }


def test_a_real_start_with_compilation_must_show_it() -> None:
    walked = walk(recorded("compiled"), "0.32.0")
    assert [stage for stage, _ in stages_of(walked)] == [
        "environment", "imports", "config", "load", "compile", "warmup", "serving",
    ]  # fmt: skip
    assert walked[-1].seconds["compile"] == pytest.approx(39.41)


def test_the_loading_bar_of_a_real_start_must_be_seen() -> None:
    seen = [(one.bar.done, one.bar.total) for one in walk(recorded("eager")) if one.bar]
    assert seen[0] == (0, 3)
    assert seen[-1] == (3, 3)


@pytest.mark.parametrize("name", ["ready", "drained"])
def test_a_log_read_afterwards_must_give_the_seconds_that_it_tells(name: str) -> None:
    lines = (RECORDED / f"vllm-0.32-cpu-{name}.log").read_text().splitlines()
    progress = replay(ALL, lines)
    assert progress.stage == "serving"
    assert progress.seconds["load"] == 1.0
    assert progress.seconds["config"] in {15.0, 19.0}


def test_a_start_that_was_refused_must_stay_where_it_was() -> None:
    progress = replay(ALL, (RECORDED / "vllm-0.32-cpu-too-long.log").read_text().splitlines())
    assert progress.stage == "config"


@pytest.mark.parametrize("version", ["0.10.2", ""])
def test_an_old_engine_on_two_cards_must_go_through_all_stages(version: str) -> None:
    walked = walk(rows(GPU_0_10), version)
    assert stages_of(walked) == [
        ("environment", 0.0), ("imports", 9.0), ("config", 14.0), ("load", 33.0), ("compile", 53.0),
        ("profiling", 95.0), ("warmup", 98.0), ("capture", 99.0), ("warmup", 104.0), ("serving", 108.0),
    ]  # fmt: skip
    assert walked[-1].seconds["warmup"] == pytest.approx(1.0 + 4.0)
    halfway = known_at(walked, 44.0)
    assert halfway.fraction == pytest.approx(10 / 17)
    assert halfway.bar is not None
    assert halfway.bar.rate == pytest.approx(1 / 17)
    told = {name: one.value for name, one in walked[-1].measured.items()}
    assert told["weights"] == pytest.approx(30.61 * GIB), "of the card that holds most"
    assert told["kv_cache"] == pytest.approx(11.40 * GIB), "of the card with the least room"
    assert told["kv_cache_tokens"] == 93392
    assert told["concurrency"] == 2.28
    assert told["load"] == 19.2
    assert told["compile"] == 33.61
    assert told["graphs"] == pytest.approx(0.62 * GIB)
    assert told["init"] == 51.9


@pytest.mark.parametrize("version", ["0.17.0", ""])
def test_an_engine_that_compiles_nothing_must_measure_memory_after_the_load(version: str) -> None:
    walked = walk(rows(EAGER_0_17), version)
    assert [stage for stage, _ in stages_of(walked)][2:] == ["load", "profiling", "warmup", "warmup", "serving"]
    assert known_at(walked, 36.0).fraction == 0.25
    assert walked[-1].seconds["profiling"] == 4.0


@pytest.mark.parametrize("version", ["0.32.0", "0.33.0", ""])
def test_graphs_that_are_captured_while_memory_is_measured_are_no_graph_capture(version: str) -> None:
    walked = walk(rows(RUNNER_2_0_32), version)
    assert stages_of(walked) == [
        ("environment", 0.0), ("config", 10.0), ("load", 24.0), ("compile", 48.0), ("profiling", 70.0),
        ("warmup", 73.0), ("capture", 80.0), ("warmup", 86.0), ("serving", 88.0),
    ]  # fmt: skip
    assert known_at(walked, 71.0).stage == "profiling"
    assert walked[-1].measured["checkpoint"].value == 61 * GIB


def test_a_version_must_be_read_by_its_own_patterns_only() -> None:
    took = "(EngineCore pid=9) INFO 11-01 10:01:10 [monitor.py:64] torch.compile took 20.00 s in total"
    takes = took.replace("took", "takes")
    reached = {
        (version, line): advance(stages := load_stages(version), begin(stages, 0.0), line, 1.0).stage
        for version in ("0.10.2", "0.32.0")
        for line in (took, takes)
    }
    assert reached == {
        ("0.10.2", took): "imports", ("0.10.2", takes): "profiling",
        ("0.32.0", took): "profiling", ("0.32.0", takes): "imports",
    }  # fmt: skip


def test_a_download_must_be_told() -> None:
    progress = advance(ALL, begin(ALL, 0.0), "Fetching 17 files:   6%|▌         | 1/17 [00:02<00:40,  2.5s/it]", 1.0)
    assert (progress.stage, progress.fraction) == ("download", 1 / 17)


def test_a_bar_that_begins_anew_must_be_a_second_one() -> None:
    """A draft model is loaded after the model."""
    bar = "Loading safetensors checkpoint shards: {:3d}% Completed | {}/2 [00:10<00:10, 10.00s/it]"
    progress = begin(ALL, 0.0)
    seen = []
    for at, done in enumerate((0, 1, 2, 2, 0, 1, 2)):
        progress = advance(ALL, progress, bar.format(done * 50, done), float(at))
        seen.append(progress.fraction)
    assert seen == [0, 0.5, 1, 1, 0, 0.5, 1]
    assert progress.bar is not None
    assert progress.bar.since == 4.0


def test_bars_of_engines_side_by_side_must_not_jump_back() -> None:
    bar = "(EngineCore_DP{} pid={}) Loading safetensors checkpoint shards: 1% Completed | {}/8 [00:10<00:10, 10.00s/it]"
    progress, seen = begin(ALL, 0.0), []
    for at, (engine, done) in enumerate([(0, 2), (1, 0), (0, 3), (1, 2), (1, 4)]):
        progress = advance(ALL, progress, bar.format(engine, 10 + engine, done), float(at))
        seen.append(progress.fraction)
    assert seen == [2 / 8, 2 / 8, 3 / 8, 3 / 8, 4 / 8]


def test_what_a_serving_engine_writes_must_change_nothing() -> None:
    serving = walk(recorded("eager"))[-1]
    assert advance(ALL, serving, "Starting to load model x... Checkpoint size: 5.00 GiB", 1e6) is serving


def test_the_seconds_so_far_must_hold_the_present_stage() -> None:
    progress = next(one for one in walk(recorded("eager")) if one.stage == "load")
    assert spent(progress, 75.35)["load"] == pytest.approx(2.0)
    assert spent(walk(recorded("eager"))[-1], 1e6).keys() == {"environment", "imports", "config", "load", "warmup"}


def test_a_new_year_must_not_turn_time_back() -> None:
    lines = [
        "(Worker pid=7) INFO 12-31 23:59:50 [cpu_model_runner.py:68] Starting to load model m...",
        "INFO 01-01 00:00:10 [core.py:402] init engine (profile, create kv cache, warmup model) took 2.00 s",
    ]
    assert replay(ALL, lines).seconds["load"] == 20.0
    assert stamp(lines[1]) == 10.0
    assert stamp("INFO 99-99 10:00:00 [a.py:1] x") is None


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"steps": [{"id": "a", "stage": "lunch"}]}, "there is no stage 'lunch'"),
        ({"mark": [{"step": "b", "pattern": "x"}]}, "x: there is no step 'b'"),
        ({"mark": [{"step": "a", "pattern": "x", "ater": "a"}]}, "mark 1: there is no key 'ater'"),
        ({"measure": [{"name": "m", "pattern": "x", "unit": "s", "keep": "max"}]}, "no group called value"),
        ({"measure": [{"name": "m", "pattern": "(?P<value>x)", "unit": "s", "keep": "sum"}]}, "max or min"),
    ],
)
def test_data_that_is_wrong_must_be_refused(document: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("'", ".")):
        read_stages({"steps": [{"id": "a", "stage": "load"}], **document})


# ------------------------------------------------------------------------------------------------- whatever is written

WHOLE = [said for log in (GPU_0_10, EAGER_0_17, RUNNER_2_0_32) for _, said in rows(log)]
ANYTHING = st.lists(st.sampled_from(WHOLE) | st.text(max_size=40), max_size=60)


@given(ANYTHING, st.lists(st.floats(-5, 5), min_size=60, max_size=60))
def test_stages_only_go_forward_whatever_is_written_and_whatever_the_clock_does(
    lines: list[str], jumps: list[float]
) -> None:
    times = itertools.accumulate(jumps)
    walked = walk(list(zip(times, lines, strict=False)))
    for before, after in itertools.pairwise(walked):
        assert after.step >= before.step
        assert after.at >= before.at or after.stage == "serving"
        assert set(before.measured) <= set(after.measured)
    assert all(seconds >= 0 for seconds in walked[-1].seconds.values())
    assert all(one.fraction is None or 0 <= one.fraction <= 1 for one in walked)
    assert sum(walked[-1].seconds.values()) == pytest.approx(walked[-1].since)


@given(st.data())
def test_bytes_cut_anywhere_must_give_the_same_progress(data: st.DataObject) -> None:
    ends = st.sampled_from(("\n", "\r", "\r\n"))
    text = "".join(line + data.draw(ends) for line in data.draw(ANYTHING))
    whole = text.encode(errors="replace")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    parts = [whole[start:end] for start, end in itertools.pairwise([0, *cuts, len(whole)])]

    at_once, pieces = Pieces().feed(whole), Pieces()
    one_by_one = [piece for part in parts for piece in pieces.feed(part)]
    assert one_by_one == at_once
    assert walk([(1.0, piece) for piece in one_by_one])[-1] == walk([(1.0, piece) for piece in at_once])[-1]


@given(st.lists(st.binary(max_size=9), max_size=20))
def test_any_bytes_cut_anywhere_must_give_the_same_pieces(parts: list[bytes]) -> None:
    pieces = Pieces()
    assert [piece for part in parts for piece in pieces.feed(part)] == Pieces().feed(b"".join(parts))


def test_a_line_without_an_end_must_not_fill_the_memory() -> None:
    pieces = Pieces()
    for _ in range(50):
        assert pieces.feed(b"x" * LONGEST) == []
    assert pieces.feed(b"\nshort\n") == ["x" * LONGEST, "short"]


def test_the_words_must_be_those_of_a_log_as_it_is_written() -> None:
    log = dedent(
        """\
        (Worker_TP0 pid=11) INFO 09-20 10:00:33 [gpu_model_runner.py:2338] Starting to load model m...
        \rLoading pt checkpoint shards:   0% Completed | 0/4 [00:00<?, ?it/s]\rLoading pt checkpoint shards:  50% \
Completed | 2/4 [00:01<00:01, 2it/s]\r"""
    )
    progress = begin(ALL, 0.0)
    for piece in Pieces().feed(log.encode()):
        progress = advance(ALL, progress, piece, 1.0)
    assert progress.fraction == 0.5


# ------------------------------------------------------------------------------------------------ what says nothing


@pytest.mark.parametrize("version", ["", "0.10.2", "0.32.0"])
def test_what_is_not_looked_at_says_nothing(version: str) -> None:
    stages = load_stages(version)
    slow = replace(stages, texts=((),) * len(stages.steps))
    logs = [file.read_bytes() for file in sorted(RECORDED.rglob("*.log"))]
    for log in (*logs, GPU_0_10.encode(), EAGER_0_17.encode()):
        texts = Pieces().feed(log + b"\n")
        assert replay(stages, texts) == replay(slow, texts)
        fast, full = begin(stages, 0.0), begin(slow, 0.0)
        for at, text in enumerate(texts):
            fast, full = advance(stages, fast, text, float(at)), advance(slow, full, text, float(at))
            assert fast == full


def test_a_line_that_says_nothing_costs_nothing() -> None:
    started = advance(ALL, begin(ALL, 0.0), "INFO 11-23 10:00:00 [a.py:1] hello", 1.0)
    said = "DEBUG 11-23 10:00:00 [scheduler.py:88] request 4711 was scheduled"
    assert started.stage == "imports"
    assert advance(ALL, started, said, 1.0) is started
    assert advance(ALL, started, said, 2.0) == replace(started, at=2.0)
