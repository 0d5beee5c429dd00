import re
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.diagnosis.amounts import AMOUNTS
from orchestrator.diagnosis.cure import diff, fill, prescribe, say, yaml
from orchestrator.diagnosis.model import Cure, Signature
from orchestrator.diagnosis_data import load
from orchestrator.yamldoc import parse


@pytest.mark.parametrize(
    ("name", "known", "wanted"),
    [
        ("longest", {"estimate": "37376"}, 37376),
        ("longest", {"estimate": "34736"}, 34560),
        ("longest", {"tokens": "6048"}, 5888),
        ("longest", {"estimate": "1000"}, 992),
        ("longest", {"estimate": "9"}, 9),
        ("longest", {"max_len": "4096", "needed": "2.0", "available": "1.0"}, 2048),
        ("longest", {"max_len": "4096", "needed": "0.0", "available": "1.0"}, None),
        ("longest", {"estimate": "0"}, None),
        ("model_limit", {"limit": "512.0"}, 512),
        ("free_share", {"free": "59.32", "total": "79.15"}, 0.73),
        ("free_share", {"free": "0.1", "total": "79.15"}, None),
        ("more_share", {"serve.gpu_memory_utilization": 0.4}, 0.95),
        ("more_share", {"serve.gpu_memory_utilization": 0.95}, None),
        ("less_share", {}, 0.85),
        ("fewer_requests", {"requests": "1024"}, 256),
        ("fewer_tokens", {"serve.args.max_num_batched_tokens": 8192}, 4096),
        ("lora_rank", {"rank": "48"}, 64),
        ("lora_rank", {"rank": "1000"}, None),
        ("divisor", {"heads": "64", "tp": "3"}, 2),
        ("divisor", {"heads": "28", "tp": "8"}, 7),
        ("divisor", {"heads": "4", "tp": "3"}, 2),
        ("fewer_cards", {"seen": "3"}, 2),
        ("fewer_cards", {"seen": "0"}, None),
        ("more_cards", {"serve.tensor_parallel_size": 4, "cards": 8}, 8),
        ("more_cards", {"serve.tensor_parallel_size": 4, "cards": 7}, None),
        ("more_cards", {"serve.tensor_parallel_size": 2, "serve.pipeline_parallel_size": 2, "cards": 4}, None),
        ("more_cards", {"cards": 2}, 2),
        ("more_cards", {}, None),
        ("next_port", {"serve.port": 8000}, 8001),
        ("next_port", {"port": "65535"}, None),
        ("kv_space", {"needed": "4.38"}, 5),
        ("less_kv_space", {"free": "5.12"}, 2),
        ("cuda", {"found": "12080"}, "12.8"),
        ("torch_backend", {"found": "11040"}, "cu114"),
        ("flag_name", {"flag": "--swap-space=4"}, "swap_space"),
        ("flag_name", {"flag": "--max-model-len/-m"}, "m"),
        ("plain_method", {"method": "awq_marlin"}, "awq"),
        ("plain_method", {"method": "awq"}, None),
        ("plain_method", {"model.quantization": "gptq_marlin"}, "gptq"),
        ("plain_method", {}, None),
        ("longer", {"readiness.timeout": 600.0}, "20m"),
    ],
)
def test_a_number_is_made_of_those_that_are_known(name: str, known: dict[str, Any], wanted: object) -> None:
    assert AMOUNTS[name](known) == wanted


ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12))
NAMES = ("estimate", "tokens", "max_len", "needed", "available", "limit", "free", "total", "share", "requests", "rank")
MORE = ("heads", "tp", "seen", "port", "found", "flag", "method", "readiness.timeout", "serve.tensor_parallel_size")


@given(st.dictionaries(st.sampled_from((*NAMES, *MORE)), ANYTHING), st.sampled_from(sorted(AMOUNTS)))
def test_whatever_is_known_a_number_or_none_comes_out(known: dict[str, Any], name: str) -> None:
    assert isinstance(AMOUNTS[name](known), int | float | str | None)


def test_a_template_keeps_the_kind_of_its_only_place_and_is_none_if_one_is_unknown() -> None:
    assert fill("{longest}", {"estimate": "512"}) == 512
    assert fill("at {port}", {"port": 80}) == "at 80"
    assert fill("{a} {b}", {"a": "1"}) is None
    assert fill(3, {}) == 3


def test_a_part_of_a_sentence_falls_away_with_what_it_is_about() -> None:
    assert say("it is taken[: {port}], you see", {}) == "it is taken, you see"
    assert say("it is taken[: {port}]", {"port": 80}) == "it is taken: 80"
    assert say("gpus: [0] of {name}", {}) == "gpus: [0] of NAME"
    assert say("{nobody}", {}) == "?"


HOSTILE = "/x; rm -rf $HOME #'`id`"


def test_what_is_filled_in_is_never_a_template() -> None:
    known = {"path": "{name} [of {repo}]", "name": "qwen", "repo": "a/b"}
    assert say("no right to {path}[, or {path}]", known) == "no right to {name} [of {repo}], or {name} [of {repo}]"


def test_a_command_takes_whatever_a_log_names_as_one_word() -> None:
    known = {"path": HOSTILE, "module": "$(reboot)"}
    command = prescribe(Cure(command="ls -ld {path}[; pip install {module}]", advice="see {path}"), known).words
    assert shlex.split(command[0]) == ["ls", "-ld", HOSTILE + ";", "pip", "install", "$(reboot)"]
    assert command[1] == f"see {HOSTILE}"


@pytest.mark.parametrize("one", [one for one in load() if "{" in one.cure.command], ids=lambda one: one.id)
def test_no_command_of_the_catalogue_runs_what_a_log_names(one: Signature) -> None:
    places = set(re.findall(r"\{([\w.]+)\}", one.cure.command)) - set(AMOUNTS)
    command = prescribe(one.cure, dict.fromkeys(places, HOSTILE)).words[0]
    assert " ".join(shlex.split(command)).count(HOSTILE) == command.count(shlex.quote(HOSTILE)) >= len(places)
    assert not re.search(r"\bsudo\b(?! dmesg| journalctl)|\brm\b", command.replace(shlex.quote(HOSTILE), ""))


def test_changes_are_told_file_by_file_and_section_by_section() -> None:
    changes = {
        "serve.args.dtype": "half",
        "environment.env.NCCL_P2P_DISABLE": "1",
        "serve.port": 8001,
        "model.quantization": None,
    }
    known = {"serve.port": 8000, "environment_file": "environments/gpu.yaml"}
    assert diff(changes, known) == (
        "# the profile",
        "  model:",
        "-   quantization: ...",
        "  serve:",
        "    args:",
        "+     dtype: half",
        "-   port: 8000",
        "+   port: 8001",
        "# environments/gpu.yaml",
        "  env:",
        '+   NCCL_P2P_DISABLE: "1"',
    )


@given(
    st.one_of(
        st.booleans(),
        st.integers(-(10**9), 10**9),
        st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"])),
    )
)
def test_a_value_is_written_as_yaml_reads_it(value: Any) -> None:
    assert parse(f"x: {yaml(value)}", "x").value == {"x": value}
