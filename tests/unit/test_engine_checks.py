"""Profiles against what a version of the engine takes: each finding, where it stands, and what to do."""

from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator import engine_data
from orchestrator.engine_checks import check_flags
from orchestrator.engines.knowledge import Bounds, Engine, Flag
from orchestrator.findings import Findings
from orchestrator.model import ModelRef, Profile, Serve, Source

PLACES = {("serve", "args", "max-num-seqs"): (7, 5), ("serve",): (5, 1), ("model", "quantization"): (4, 3)}


def flag(name: str, **fields: Any) -> Flag:
    return Flag(name, (f"--{name}",), name.replace("-", "_"), **fields)


def engine(version: str, *flags: Flag) -> Engine:
    return Engine(version, {one.name: one for one in flags})


OLD = engine("0.10.0", flag("swap-space", type="float"), flag("task", type="str"), flag("max-num-seqs", type="int"))
NOW = engine(
    "0.20.0",
    flag("max-num-seqs", type="int", bounds=Bounds(least=1)),
    flag("max-model-len", type="human_int_or_auto"),
    flag("quantization", type="str", choices=("awq", "awq_marlin", "fp8"), open="plugin"),
    flag("kv-cache-dtype", type="str", choices=("auto", "fp8")),
    flag("enforce-eager", type="bool", negations=("--no-enforce-eager",)),
    flag("tensor-parallel-size", type="int", bounds=Bounds(least=1)),
    flag("enable-auto-tool-choice", type="bool", negations=("--no-enable-auto-tool-choice",)),
    flag("tool-call-parser", type="str"),
    flag("allowed-origins", type="json", holds="list"),
    flag("middleware", type="str", repeats=True),
    Flag("compilation-config", ("--compilation-config", "-cc"), "compilation_config", type="json"),
    flag("old-way", type="bool", deprecated=True, removed_in="0.21", instead=("--new-way", "--other")),
)
NEW = engine("0.30.0", *NOW.flags.values(), flag("fresh", type="int"))


def found(engine: Engine = NOW, others: Sequence[Engine] = (OLD, NOW, NEW), **fields: Any) -> list[str]:
    """'line:col code: text' of each, warnings with a mark."""
    serve = {key: fields.pop(key) for key in tuple(fields) if key in Serve.__dataclass_fields__}
    profile = Profile("a", "lab", ModelRef("o/m", **fields), Serve(**serve), drain=0.0, source=Source("a.yaml", PLACES))
    findings = Findings(profile.source, "profile")
    check_flags(profile, engine, lambda: others, findings)
    errors = [f"{one.at.partition(':')[2]} {one.code}: {one.why}; {one.do}" for one in findings.errors]
    return errors + [f"! {one.at.partition(':')[2]} {one.code}: {one.what}; {one.do}" for one in findings.warnings]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"max_num_seq": 8}, ["! 5:1 short-flag: serve.args.max_num_seq is short for max_num_seqs; write it out"]),
        ({"max_nums_eqs": 8},
         ["5:1 unknown-flag: vllm 0.20.0 has no flag --max-nums-eqs; did you mean max_num_seqs?"]),
        ({"swap_space": 4},
         ["5:1 removed-flag: vllm 0.20.0 has no flag --swap-space: it was removed in 0.20.0; remove it"]),
        ({"fresh": 4},
         ["5:1 newer-flag: vllm 0.20.0 has no flag --fresh: it was added in 0.30.0; remove it, or use vllm 0.30.0 or "
          "newer"]),
        ({"max_num_seqs": 0},
         ["7:5 flag-value: in vllm 0.20.0 it must be at least 1, not 0; see `orch engine flags max_num_seqs`"]),
        ({"max_num_seqs": "many"},
         ["7:5 flag-value: in vllm 0.20.0 it needs a whole number, not many; see `orch engine flags max_num_seqs`"]),
        ({"kv_cache_dtype": "fp88"}, ["5:1 flag-value: in vllm 0.20.0 it cannot be fp88; did you mean fp8?"]),
        ({"enforce_eager": "yes"},
         ["5:1 flag-value: in vllm 0.20.0 it takes no value: write true or false, not yes; "
          "see `orch engine flags enforce_eager`"]),
        ({"old_way": True},
         ["! 5:1 deprecated-flag: serve.args.old_way is deprecated in vllm 0.20.0, and goes in 0.21; "
          "use new_way or other"]),
        ({"enforce_eager": False, "max_num_seqs": 4}, []),
        ({"enforce_eager": "true"},
         ["5:1 flag-value: in vllm 0.20.0 it takes no value: write true or false, without quotes; "
          "see `orch engine flags enforce_eager`"]),
        ({"allowed_origins": ["*"], "middleware": ["a", "b"]}, []),
        ({"enable_auto_tool_choice": True},
         ["5:1 flag-value: vllm takes it only together with tool_call_parser; add tool_call_parser"]),
        ({"enable_auto_tool_choice": True, "tool_call_parser": "hermes"}, []),
        ({"cc.mode": 3},
         ["5:1 short-flag: it is the short form of compilation_config, which orch does not write; "
          "write compilation_config"]),
        ({"cc": {}},
         ["5:1 short-flag: it is the short form of compilation_config, which orch does not write; "
          "write compilation_config"]),
    ],
)  # fmt: skip
def test_each_flag(args: dict[str, Any], expected: list[str]) -> None:
    assert found(args=args) == expected


def test_the_fields_that_stand_for_flags_are_held_against_it_too() -> None:
    assert found(tensor_parallel_size=0) == [
        "5:1 flag-value: in vllm 0.20.0 it must be at least 1, not 0; see `orch engine flags tensor_parallel_size`"
    ]
    assert found(max_model_len=4096) == []


def test_a_choice_that_a_plugin_may_bring_is_a_warning() -> None:
    assert found(quantization="awq_marlim") == [
        "! 4:3 flag-choice: model.quantization knows no awq_marlim in vllm 0.20.0 without a plugin; "
        "did you mean awq_marlin?"
    ]


def test_a_field_that_an_old_version_has_no_flag_for() -> None:
    assert found(OLD, max_model_len=4096) == ["5:1 unknown-flag: vllm 0.10.0 has no flag for it; remove it"]


def test_what_is_shipped_takes_the_shipped_profiles() -> None:
    from pathlib import Path

    from orchestrator.load import load_profile

    known = engine_data.load(engine_data.shipped()["0.32.0"])
    assert known is not None
    for file in sorted((Path(__file__).resolve().parents[2] / "profiles").glob("*.yaml")):
        profile = load_profile(file, {})
        findings = Findings(profile.source, "profile")
        check_flags(profile, known, lambda: [known], findings)
        assert (findings.errors, findings.warnings) == ((), ()), file
