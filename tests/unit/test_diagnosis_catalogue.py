"""Every signature that is shipped: it fires on its example, says what it should, and on nothing else."""

import re
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from orchestrator import diagnosis_data
from orchestrator.diagnosis.cure import ENVIRONMENT
from orchestrator.diagnosis.lines import read
from orchestrator.diagnosis.match import diagnose
from orchestrator.diagnosis.model import Diagnosis, Ending
from orchestrator.diagnosis.text import MOST, WIDTH, diagnosis_text, url
from orchestrator.errors import InputError
from orchestrator.yamldoc import parse

RECORDED = Path(__file__).parent.parent / "recorded"
CATALOGUE = diagnosis_data.load()
ENTRIES: dict[str, dict[str, Any]] = {
    entry["id"]: entry
    for file in sorted(diagnosis_data.SHIPPED.glob("failures-*.toml"))
    for entry in tomllib.loads(file.read_text(encoding="utf-8"))["signature"]
}
HEALTHY = [file for kind in ("ready", "drained", "stages") for file in sorted(RECORDED.glob(f"*{kind}*.log"))]
KINDS = {
    "CUDA OOM at load, at KV profiling, at graph capture": "cuda-oom-load cuda-oom-profiling cuda-oom-capture",
    "no KV room for max_model_len": "kv-cache-too-small no-kv-cache",
    "free memory below gpu_memory_utilization": "card-not-free",
    "libcuda, -lcuda, nvJitLink": "libcuda-missing lcuda-not-linked nvjitlink",
    "driver, kernel image": "driver-too-old no-kernel-image",
    "FP8 or Marlin on this capability": "fp8-not-on-this-card marlin-not-on-this-card quantization-not-on-this-card",
    "NCCL hang, P2P, shared memory, IOMMU": "nccl-hang p2p-broken shared-memory-too-small iommu",
    "port": "port-taken",
    "gated, missing, renamed, offline": "repo-gated repo-missing revision-missing offline-not-cached",
    "corrupt or truncated safetensors": "weights-corrupt weights-truncated",
    "unknown architecture": "architecture-unknown model-type-unknown",
    "trust_remote_code, chat template, tokenizer": "trust-remote-code chat-template-missing chat-template-broken "
    "chat-template-path tokenizer-missing",
    "dtype, flags, heads, LoRA": "dtype-not-on-this-card flag-unknown heads-not-divisible lora-rank",
    "disk, files": "disk-full too-many-open-files",
    "compilers": "nvcc-missing ninja-missing c-compiler-missing python-headers-missing",
    "glibc, CPU": "glibc-too-old cpu-instruction-missing cpu-amx-missing kv-cache-too-small-cpu",
    "permissions, MIG, Xid": "gpu-permission cache-permission mig-device xid",
    "killed, stuck": "oom-killed killed silent",
}


def tried(entry: dict[str, Any], before: str = "", served: bool = False) -> tuple[Diagnosis, Ending]:
    ending = Ending(**entry.get("ending", {"code": 1}), before_ready=not served)
    lines = read(before + entry.get("example", ""))
    return diagnose(lines, ending, entry.get("stage", ""), reversed(CATALOGUE), entry.get("facts", {})), ending


def name(diagnosis: Diagnosis) -> str:
    return diagnosis.signature.id if diagnosis.signature else ""


def test_there_is_one_for_every_kind_of_failure_that_was_asked_for() -> None:
    assert len(CATALOGUE) >= 45
    assert len(CATALOGUE) == len(ENTRIES)
    assert {one for ids in KINDS.values() for one in ids.split()} <= set(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_it_wins_on_its_example_and_prescribes_what_it_should(entry: dict[str, Any]) -> None:
    diagnosis, ending = tried(entry)
    assert name(diagnosis) == entry["id"]
    removed = [path for path in entry.get("remove", []) if "{" not in path]
    wanted = {**entry.get("expect", {}), **dict.fromkeys(removed)}
    if len(removed) == len(entry.get("remove", [])):
        assert diagnosis.changes == wanted
    assert diagnosis.final is entry.get("final", False)
    lines = diagnosis_text(diagnosis, ending, "cannot start qwen: ", "logs/a.log")
    assert len(lines) <= MOST
    assert all(len(line) <= WIDTH for line in lines)
    assert set(diagnosis.diff) <= {line.removeprefix("  ") for line in lines}  # none of the cure is cut away
    assert not re.search(r"[{}\[]\w*[}\]]|\?(?!\w)", " ".join([diagnosis.title, diagnosis.means]))


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
@pytest.mark.parametrize("served", [False, True], ids=["starting", "served"])
def test_a_healthy_start_before_it_changes_nothing(entry: dict[str, Any], served: bool) -> None:
    text = (RECORDED / "vllm-0.32-cpu-ready.log").read_text(encoding="utf-8")
    before = text if served else text.split("INFO:     Started server process")[0]
    other = {"silent": "not-ready-in-time", "kv-cache-too-small": "kv-cache-too-small-cpu"}  # as it was, and on a CPU
    assert name(tried(entry, before + "\n", served)[0]) == other.get(entry["id"], entry["id"])


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_it_is_told_in_two_sentences_with_a_cure_and_an_issue(entry: dict[str, Any]) -> None:
    assert len(re.split(r"(?<=[.])\s+(?=[A-Z/{])", entry["means"])) == 2
    assert entry["means"].endswith(".") and not entry["title"].endswith(".")
    assert entry.get("set") or entry.get("remove") or entry.get("command") or entry.get("advice")
    assert entry["issues"]
    for issue in entry["issues"]:
        assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/issues/[1-9]\d*", url(issue))
    assert set(entry.get("over", [])) <= set(ENTRIES)


@pytest.mark.parametrize("entry", [one for one in ENTRIES.values() if one.get("set")], ids=lambda one: one["id"])
def test_the_change_is_yaml_of_fields_that_exist(entry: dict[str, Any]) -> None:
    diagnosis, _ = tried(entry)
    for new in ("+", "-"):
        text = "\n".join(line[2:] for line in diagnosis.diff if line[0] in (" ", new) and not line.startswith("# "))
        assert text == "" or isinstance(parse(text, "change").value, dict)
    for path in diagnosis.changes:
        section = path.removeprefix(ENVIRONMENT).split(".")[0]
        known = {"env", "runtime", "cuda", "cache", "secrets"} if path.startswith(ENVIRONMENT) else {
            "serve", "model", "gpus", "readiness"
        }  # fmt: skip
        assert section in known


def test_no_pattern_takes_long_whatever_a_line_holds() -> None:
    """In all some 0.2 s; one pattern that starts anew at every character takes ten times that by itself."""
    pieces = (
        "Error",
        "a-1 ",
        "(",
        "/a.b",
        "x",
        "x.",
        "0",
        "{",
        "'",
        "CUDA ",
        "Error: ",
        "Loading ",
        "SafetensorError ",
    )
    lines = [(piece * 8192)[:8192] for piece in pieces]
    began = time.process_time()
    for signature in CATALOGUE:
        for pattern in (*signature.patterns, *signature.hints, *signature.last, *signature.beside):
            for line in lines:
                pattern.search(line)
    assert time.process_time() - began < 3


@pytest.mark.parametrize("file", HEALTHY, ids=lambda file: file.name)
@pytest.mark.parametrize("stage", ["", "load", "capture", "serving"])
def test_none_fires_on_a_healthy_log(file: Path, stage: Any) -> None:
    for ending in (Ending(), Ending(code=0, before_ready=False), Ending(code=1)):
        assert diagnose(read(file.read_text(encoding="utf-8")), ending, stage, CATALOGUE).signature is None


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("TypeError: AsyncEngineArgs.__init__() got an unexpected keyword argument 'swap_space'", "flag-unknown"),
        ("ImportError: /tmp/a.so: failed to map segment from shared object: Operation not permitted", "tmp-noexec"),
        ("ImportError: /tmp/a.so: failed to map segment from shared object", "tmp-noexec"),
        ("ImportError: /v/a.so: failed to map segment from shared object: Cannot allocate memory", "memory-refused"),
        (
            "RuntimeError: unable to mmap 169332 bytes from file </m.gguf>: Cannot allocate memory (12)",
            "memory-refused",
        ),
        ("OSError: [Errno 12] Cannot allocate memory", "memory-refused"),
        ("Fatal Python error: Bus error", "bus-error"),
        ("RuntimeError: Engine core initialization failed. Failed core proc(s): {'EngineCore_DP0': -7}", "bus-error"),
        ("Bus error\nOSError: [Errno 28] No space left on device: '/m'", "disk-full"),
        ("Bus error\nError while creating shared memory segment /dev/shm/x (size 9)", "shared-memory-too-small"),
        ("ERROR 07-26 14:50:35 [m.py:120] Worker VllmWorkerProcess pid 2 died, exit code: -9", "part-killed"),
        ("ERROR 07-26 14:50:35 [m.py:120] Worker VllmWorkerProcess pid 2 died, exit code: -15", ""),
    ],
)
def test_lines_that_look_alike_are_told_apart(line: str, wanted: str) -> None:
    assert name(diagnose(read(line), Ending(code=1), "load", CATALOGUE)) == wanted


def test_more_cards_are_asked_for_only_where_they_are() -> None:
    text = ENTRIES["cuda-oom-load"]["example"]
    for facts, wanted in (({}, {}), ({"cards": 1}, {}), ({"cards": 2}, {"serve.tensor_parallel_size": 2})):
        found = diagnose(read(text), Ending(code=1), "load", CATALOGUE, facts)
        assert (name(found), found.changes) == ("cuda-oom-load", wanted)
        assert "a larger tensor_parallel_size" in found.cure[-1]


@pytest.mark.parametrize("method", ["", "gptq", "awq", "compressed-tensors"])
def test_a_way_of_quantization_that_nobody_named_is_not_guessed(method: str) -> None:
    text = ENTRIES["marlin-not-on-this-card"]["example"]
    found = diagnose(read(text), Ending(code=1), "load", CATALOGUE, {"model.quantization": method})
    assert (name(found), found.changes) == ("marlin-not-on-this-card", {})


HOST = """no-gpu-seen gpu-permission libcuda-missing config-missing weights-missing offline-not-cached cuda-oom-load
    cuda-oom-profiling cuda-oom-sampler cuda-oom-kv cuda-oom-capture cuda-oom no-kv-cache cache-permission tmp-noexec
    nccl-hang iommu disk-full port-taken too-many-open-files memory-refused bus-error xid killed part-killed silent
    still-loading architecture-not-inspected"""
INPUTS = """flag-unknown flag-value settings-refused max-len-above-model heads-not-divisible kv-cache-too-small
    dtype-not-on-this-card fp8-not-on-this-card architecture-unknown trust-remote-code chat-template-broken repo-gated
    tokenizer-missing package-missing undefined-symbol glibc-too-old weights-corrupt no-kernel-image driver-too-old
    repo-missing revision-missing"""


def test_another_start_is_ruled_out_by_what_the_inputs_decide_and_not_by_the_host() -> None:
    final = {one.id: one.final for one in CATALOGUE}
    assert [one for one in HOST.split() if final[one]] == []
    assert [one for one in INPUTS.split() if not final[one]] == []


def test_the_page_is_that_of_the_catalogue() -> None:
    assert diagnosis_data.main(["--check"]) == 0, "run python -m orchestrator.diagnosis_data"


def test_a_signature_of_ones_own_counts_and_replaces_one_of_the_same_id(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        "[[signature]]\nid='port-taken'\ntitle='mine'\nmeans='A. B.'\npatterns=['PetrifiedError']\n", encoding="utf-8"
    )
    signatures = diagnosis_data.load(tmp_path)
    assert len(signatures) == len(CATALOGUE)
    assert diagnose(read("PetrifiedError: stone"), Ending(code=1), "", signatures).title == "mine"
    assert diagnosis_data.own_folder({"XDG_CONFIG_HOME": str(tmp_path)}) == tmp_path / "orch" / "signatures"
    assert diagnosis_data.own_folder({"HOME": "/h"}) == Path("/h/.config/orch/signatures")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("not toml", "Expected"),
        ("x = 1", "no [[signature]]"),
        ("[[signature]]\nid='a'", "signature a: title is missing"),
        ("[[signature]]\nid='a'\ntitle='t'\nmeans='m'", "nothing says when it fits"),
        ("[[signature]]\nid='a'\ntitle='t'\nmeans='m'\npatterns=['(']", "signature a: "),
        ("[[signature]]\nid='a'\ntitle='t'\nmeans='m'\npatterns=['a{99999999999999999999}']", "signature a: "),
        (f"[[signature]]\nid='a'\ntitle='t'\nmeans='m'\npatterns=['{'(' * 9000}x{')' * 9000}']", "signature a: "),
        ("[[signature]]\nid='a'\ntitle='t'\nmeans='m'\npatterns='x'", "patterns is no list"),
        ("[[signature]]\nid='a'\ntitle=1\nmeans='m'\npatterns=['x']", "title is no text"),
        ("[[signature]]\nid='a'\ntitle='t'\nmeans='m'\npatterns=['x']\nstages=['x']", "x is no stage"),
        ("[[signature]]\nid='a'\ntitle='t'\nmeans='m'\nendings=['died']", "'died' is no ending"),
        ("[[signature]]\nid='a'\ntitle='t'\nmeans='m'\npattern=['x']", "pattern is no key"),
    ],
)
def test_a_mistake_in_a_file_of_ones_own_is_told_with_the_file(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(why)) as caught:
        diagnosis_data.load(tmp_path)
    assert "mine.toml" in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        "FluxError: capacitor 'c1' is at 87% (of 100) in /a/b.c",
        'KeyError: "x"',
        "Exception: \\d+ [what] ('is') {this}?",
        f"RuntimeError: {'long ' * 60}",
    ],
)
def test_the_lesson_of_an_unknown_failure_is_a_signature_of_it(tmp_path: Path, error: str) -> None:
    lines = read(f"(EngineCore pid=2) ERROR 11-23 10:00:00 [c.py:1] {error}")
    unknown = diagnose(lines, Ending(code=1), "", CATALOGUE)
    assert unknown.signature is None
    assert unknown.cure[0] == "[[signature]]" and len(unknown.cure[1:]) == 5
    said = diagnosis_text(unknown)
    assert all(len(line) <= WIDTH for line in said) and any("in five lines as ~/.config/" in line for line in said)
    (tmp_path / "mine.toml").write_text("\n".join(unknown.cure), encoding="utf-8")
    assert name(diagnose(lines, Ending(code=1), "", diagnosis_data.load(tmp_path))) not in {"", *ENTRIES}
