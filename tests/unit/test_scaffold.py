"""What `orch init` writes reads back as the same values; and what it makes of a model's name and config."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from golden import check, unused
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InputError, OrchError, UsageProblem
from orchestrator.from_command import name_of
from orchestrator.load import load_environment, load_profile
from orchestrator.model import Environment, ModelRef, Profile, Restart, RuntimeSpec, SecretRef, Serve
from orchestrator.new_profile import VARIANTS, Known, choose, draft, recognise
from orchestrator.scaffold import Draft, environment_text, profile_text, scalar
from orchestrator.yamldoc import parse

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
SCALARS = st.booleans() | st.integers(-(1 << 62), 1 << 62) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
JSONS = st.recursive(
    SCALARS | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)
FLAGS = st.from_regex(r"x[a-z0-9_]{0,9}", fullmatch=True)
PATHS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=9)
PROFILES = st.builds(
    Profile,
    name=st.sampled_from(("a", "1", "1.0", "no", "null", "qwen3-32b", "0x1f")),
    environment=st.sampled_from(("default", "on", "1e5")),
    model=st.builds(
        ModelRef,
        repo=st.sampled_from(("Qwen/Qwen3-8B", "Q/M-GGUF:Q4_K_M", "gpt2")),
        revision=st.none() | st.just("main"),
    )
    | PATHS.filter(lambda name: name not in (".", "..")).map(lambda name: ModelRef(path=f"/{name}")),
    serve=st.builds(
        Serve,
        names=st.lists(TEXTS.filter(bool), max_size=2, unique=True).map(tuple),
        host=st.sampled_from(("127.0.0.1", "0.0.0.0", "::1", "localhost")),
        port=st.integers(1, 65535),
        tensor_parallel_size=st.integers(1, 8) | st.just("auto"),
        pipeline_parallel_size=st.integers(1, 3),
        max_model_len=st.none() | st.integers(1, 1 << 40),
        gpu_memory_utilization=st.none() | st.floats(0.01, 1),
        args=st.dictionaries(
            FLAGS, SCALARS | st.dictionaries(TEXTS, JSONS, max_size=4) | st.lists(SCALARS, max_size=3)
        ),
    ),
    gpus=st.sampled_from(("auto", 0, 2, ("0", "3"), ("GPU-1a2b",))),
    ready_timeout=st.sampled_from((600.0, 90.5, 1.0)),
    restart=st.builds(Restart, policy=st.sampled_from(("never", "always")), attempts=st.integers(0, 9)),
    drain=st.sampled_from((0.0, 30.0, 0.5, 100.0)),
)


@settings(max_examples=150, deadline=None)
@given(PROFILES, st.lists(TEXTS, max_size=2))
def test_a_profile_reads_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, profile: Profile, head: list[str]
) -> None:
    file = tmp_path_factory.mktemp("p") / "p.yaml"
    file.write_text(profile_text(Draft(profile, head)), encoding="utf-8")
    assert load_profile(file, {}) == profile


VALUES = TEXTS.map(lambda text: text.replace("$", "$$"))
ENVIRONMENTS = st.builds(
    Environment,
    name=st.just("default"),
    runtime=st.sampled_from(
        (
            RuntimeSpec("self"),
            RuntimeSpec("conda", "llm"),
            RuntimeSpec("venv", "/home/me/a b$"),
            RuntimeSpec(
                "requirements", requirements=("vllm==0.32.0", "x ; y == '1'"), torch_backend="cpu", python="3.12"
            ),
        )
    ),
    cuda_home=st.none() | st.just("/usr/local/cuda-12.4"),
    hf_home=st.none() | st.just("/data/h#f"),
    env=st.dictionaries(st.sampled_from(("A", "B_1", "NO", "Y")), VALUES),
    secrets=st.dictionaries(
        st.just("HF_TOKEN"), st.sampled_from((SecretRef("env", "X"), SecretRef("file", "/home/me/.t")))
    ),
)


@settings(max_examples=60, deadline=None)
@given(ENVIRONMENTS)
def test_an_environment_reads_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, made: Environment) -> None:
    file = tmp_path_factory.mktemp("e") / "default.yaml"
    file.write_text(environment_text(made, ("A line.",)), encoding="utf-8")
    literal = {name: value.replace("$$", "$") for name, value in made.env.items()}
    assert load_environment(file, {}) == replace(made, env=literal)


@settings(max_examples=200)
@given(
    TEXTS | st.sampled_from(("1.2.3", "2026-01-01", "1:30", "0b1", ".5", "a: b", "x #", "-", "", "012", "1_000", "="))
)
def test_a_text_stays_a_text_in_yaml_of_either_version(text: str) -> None:
    import yaml

    assert parse(scalar(text), "").value == text if text else scalar(text) == '""'
    assert yaml.safe_load(f"[{scalar(text)}]") == [text]


# ------------------------------------------------------------------------------------------------- of a model's name

CONFIG = {"max_position_embeddings": 40960, "num_attention_heads": 64}
AWQ = CONFIG | {"quantization_config": {"quant_method": "awq", "bits": 4}}

CASES: dict[str, tuple[str, str | None, dict[str, Any] | None]] = {
    "qwen3-32b": ("Qwen/Qwen3-32B", None, CONFIG),
    "qwen3-32b-awq": ("Qwen/Qwen3-32B-AWQ", None, AWQ),
    "qwen3-32b-fp8": ("Qwen/Qwen3-32B-FP8", None, None),
    "variant-awq": ("Qwen/Qwen3-32B", "awq", None),
    "variant-fp8-elsewhere": ("meta-llama/Llama-3.1-8B", "fp8", None),
    "variant-bf16": ("Qwen/Qwen3-4B", "bf16", CONFIG),
    "gguf": ("Qwen/Qwen3-8B-GGUF", None, None),
    "folder": ("/models/mine", None, AWQ),
}


def drafted(text: str, variant: str | None, config: dict[str, Any] | None) -> Draft:
    model = ModelRef(path=text) if text.startswith("/") else ModelRef(repo=text)
    known = Known(config, "/hub/config.json") if config else Known()
    choice = choose(model, variant, known)
    return draft(choice, known, name=name_of(choice.model.label), environment="rtx6000-ada", port=8002)


@pytest.mark.parametrize("name", CASES)
def test_the_first_profile_of(name: str, tmp_path: Path) -> None:
    made = drafted(*CASES[name])
    file = tmp_path / "p.yaml"
    file.write_text(profile_text(made))
    assert load_profile(file, {}) == made.profile
    check("init", name, profile_text(made))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Qwen/Qwen3-32B-AWQ", "awq"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "gptq"),
        ("RedHatAI/Qwen3-8B-FP8-dynamic", "fp8"),
        ("nvidia/Llama-3.3-70B-Instruct-NVFP4", "nvfp4"),
        ("RedHatAI/Qwen3-8B-quantized.w4a16", "int4"),
        ("Qwen/Qwen3-8B-GGUF:Q4_K_M", "gguf"),
        ("Qwen/Qwen3-32B", ""),
        ("org/dawqins", ""),
    ],
)
def test_a_variant_is_told_by_the_name(name: str, told: str) -> None:
    assert recognise(name) == told


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_ends_in_a_profile_or_a_reason(variant: str) -> None:
    for text in ("Qwen/Qwen3-32B", "Qwen/Qwen3-32B-AWQ", "org/x", "/models/x"):
        try:
            assert profile_text(drafted(text, variant, None))
        except OrchError as error:
            assert isinstance(error, InputError)
            assert error.do


def test_a_variant_that_the_weights_are_not_is_refused() -> None:
    with pytest.raises(InputError, match="is awq by its name"):
        drafted("Qwen/Qwen3-32B-AWQ", "fp8", None)
    with pytest.raises(InputError, match="says that its weights are awq"):
        drafted("/models/mine", "gptq", AWQ)
    with pytest.raises(InputError, match="says nothing of it"):
        drafted("/models/mine", "awq", CONFIG)
    with pytest.raises(InputError, match="only the Hub knows which"):
        drafted("org/x", "awq", None)
    with pytest.raises(UsageProblem, match="did you mean awq"):
        drafted("org/x", "awk", None)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Qwen/Qwen3-32B-AWQ", "qwen3-32b-awq"),
        ("/models/My Model!/", "my-model"),
        ("Qwen/Qwen3-8B-GGUF:Q4_K_M", "qwen3-8b-gguf-q4_k_m"),
        ("/", "model"),
        ("x" * 99, "x" * 63),
    ],
)
def test_a_deployment_is_called_after_its_model(model: str, name: str) -> None:
    assert name_of(model) == name


def test_every_golden_text_is_compared() -> None:
    from test_from_command import CASES as COMMANDS

    assert unused("init", {*CASES, *(f"command-{name}" for name in COMMANDS)}) == set()
