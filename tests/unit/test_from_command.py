"""A command becomes a profile whose flags are those of the command, or it is said what is not."""

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from golden import check
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.beginnings import engines
from orchestrator.containers import Found
from orchestrator.engines.vllm import flags
from orchestrator.errors import InputError, OrchError
from orchestrator.from_command import Taken, take
from orchestrator.launchers import in_argv, in_script
from orchestrator.load import load_environment, load_profile
from orchestrator.model import Environment, Profile, RuntimeSpec, SecretRef
from orchestrator.resolve import resolve
from orchestrator.scaffold import Draft, environment_text, profile_text
from orchestrator.surroundings import Place

ENGINES = engines("0.32.0")
HOME = {"HOME": "/home/me", "USER": "me"}
VENV = RuntimeSpec("venv", "/home/me/venv")


def place(*there: str, configs: Mapping[str, Any] | None = None) -> Place:
    return Place("/here", lambda path: path in there, (configs or {}).get)


def taken(text: str, *there: str, known: bool = True, configs: Mapping[str, Any] | None = None) -> Taken:
    return take(in_script(text, HOME), ENGINES if known else [], place(*there, configs=configs))


def loaded(found: Taken, folder: Path) -> Profile:
    """Written, and read back."""
    profile = replace(found.profile, environment="default")
    file = folder / "p.yaml"
    file.write_text(profile_text(Draft(profile, notes=found.notes)), encoding="utf-8")
    return load_profile(file, {})


def rendered(profile: Profile) -> tuple[str, ...]:
    return flags(resolve(profile, Environment("default", VENV), {}).spec, "serve", engine=ENGINES[0])


# ---------------------------------------------------------------------------- what is compared: flags, normalised


DEFAULTS = {"tensor_parallel_size": "1", "pipeline_parallel_size": "1", "port": "8000", "shutdown_timeout": "0"}


def normal(words: Sequence[str]) -> Counter[tuple[str, str]]:
    """Each flag with its value, apart from spelling, order and what is the engine's own default anyway. It is written
    from the engine's parser, and not with what is tested here."""
    model, *rest = words
    found: dict[str, str] = {"model": model, "served_model_name": json.dumps([model]), "host": "0.0.0.0"} | DEFAULTS
    for name, values in pairs(rest):
        found[name] = json.dumps(values) if len(values) != 1 or name == "served_model_name" else same(values[0])
    return Counter(found.items())


def pairs(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    at = 0
    while at < len(words):
        head, equals, value = words[at].partition("=")
        at += 1
        values = [value] if equals else []
        while not equals and at < len(words) and not words[at].startswith("--"):
            values.append(words[at])
            at += 1
        yield head.lstrip("-").replace("-", "_"), values


def same(word: str) -> str:
    try:
        value = json.loads(word)
    except ValueError:
        return word
    return json.dumps(value, sort_keys=True) if not isinstance(value, str) else word


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
WORDS = st.sampled_from(
    ("auto", "a b", "x=y", "", "true", "null", "yes", "0x1f", "1e5", "007", "1.10", "-1", "~", "a: b")
)
JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 60), 1 << 60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OWNED = {"api-key", "hf-token", "download-dir", "config", "model", "host", "port", "served-model-name", "middleware"}
OWNED |= {"quantization", "revision", "shutdown-timeout", "max-model-len", "gpu-memory-utilization"}
OWNED |= {"tensor-parallel-size", "pipeline-parallel-size", "help"}


def values_of(flag: Any) -> st.SearchStrategy[list[str]]:
    numbers = st.integers(-99, 1 << 40).map(str)
    kinds: dict[str, st.SearchStrategy[str]] = {
        "int": numbers,
        "float": st.floats(-1e6, 1e6).map(str),
        "json": st.dictionaries(TEXTS, JSONS, max_size=3).map(json.dumps),
        "human_int": numbers | st.sampled_from(("4k", "8K")),
    }
    one = kinds.get(flag.type, TEXTS | WORDS)
    if flag.nargs in ("+", "*"):
        return st.lists(one, min_size=1, max_size=3)
    return one.map(lambda word: [word])


@st.composite
def known_flags(draw: st.DrawFn) -> list[str]:
    """A flag of the engine with a value, spelt in one of the ways that the engine takes."""
    flag = draw(st.sampled_from([one for one in ENGINES[0].flags.values() if one.options and one.name not in OWNED]))
    option = draw(st.sampled_from(flag.options)) if flag.type != "bool" else f"--{flag.name}"
    if option.startswith("--") and draw(st.booleans()):
        option = "--" + option[2:].replace("-", "_")
    if flag.type == "bool":
        negated = ENGINES[0].find(f"no-{flag.name}") is not None and draw(st.booleans())
        return [f"--no-{flag.name}" if negated else option]
    words = draw(values_of(flag))
    if len(words) == 1 and (draw(st.booleans()) or words[0].startswith("-")):
        return [f"{option}={words[0]}"]
    return [option, *words] if not any(word.startswith("-") for word in words) else [f"{option}={words[0]}"]


UNKNOWN = st.from_regex(r"--x[a-z0-9_-]{0,8}[a-z0-9]", fullmatch=True).flatmap(
    lambda name: st.just([name]) | (TEXTS | WORDS).map(lambda word: [f"{name}={word}"])
)
"""Of an engine that nobody here knows."""


def spelt(words: Sequence[str]) -> list[str]:
    """The same with the flag's own name in snake case, to compare."""
    head, equals, value = words[0].partition("=")
    flag = ENGINES[0].find(head) if head.startswith("-") else None
    return [(f"--{flag.name}" if flag and "no-" not in head[:5] else head) + equals + value, *words[1:]]


@settings(max_examples=150, deadline=None)
@given(st.lists(known_flags() | UNKNOWN, max_size=6), st.randoms(use_true_random=False))
def test_the_flags_of_a_profile_are_those_of_the_command(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[str]], chance: random.Random
) -> None:
    by_name = {spelt(group)[0].partition("=")[0].replace("_", "-").replace("--no-", "--"): group for group in groups}
    chosen = list(by_name.values())
    chance.shuffle(chosen)
    words = [word for group in chosen for word in group]
    found = take(Found(("Org/Model", *words), "serve"), ENGINES, place())
    hidden = [one for one in found.left if "looks like a secret" in one]
    if hidden:
        return
    assert found.left == ()
    folder = tmp_path_factory.mktemp("p")
    expected = ["Org/Model", *(word for group in chosen for word in spelt(group))]
    assert normal(rendered(loaded(found, folder))) == normal(expected)


# ------------------------------------------------------------------------------------------ no text breaks it


PIECES = st.sampled_from(
    (
        *("vllm serve Qwen/Qwen3-8B", "docker run -p 1:2 vllm/vllm-openai:v0.11.0 --model", "python -m vllm", "uv run"),
        *(
            "bash -c",
            "conda run -n",
            "env -u",
            "sudo",
            "export A=",
            "A=(",
            "${A[@]}",
            "${A:-${B:-",
            "$(cat ",
            "`",
            "))",
        ),
        *(
            "'",
            '"',
            "\\",
            "\\\n",
            "\n",
            " ",
            "#",
            "<<EOF",
            "&>",
            "2>&1 |",
            ";",
            "&",
            "(",
            ")",
            "{",
            "}",
            "~",
            "$",
            "$'",
        ),
        *(
            "--api-key",
            "-tp",
            "-tp=2",
            "-O3",
            "-O.level",
            "--x.a.b",
            "--x.a+",
            "--no-",
            "--",
            "-",
            "--=",
            "=",
            '{"a": 1',
        ),
        *(
            "CUDA_VISIBLE_DEVICES=0,1",
            "HF_TOKEN=",
            "HF_HOME=",
            "--served-model-name",
            "--max-model-len 4K",
            "--port 99999",
        ),
        *(
            "--download-dir",
            "--config c.yaml",
            "--gpu-memory-utilization nan",
            "-v /a:/b",
            "--gpus",
            "\x7f",
            "\ud800",
            "²",
        ),
    )
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(PIECES | TEXTS, max_size=14).map(lambda parts: "vllm serve X/Y " + " ".join(parts)) | st.text(max_size=40)
)
def test_any_text_becomes_files_that_load_or_is_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    try:
        found = taken(text)
    except OrchError as error:
        assert str(error).startswith("cannot ")
        return
    folder = tmp_path_factory.mktemp("p")
    assert loaded(found, folder).model == found.profile.model
    made = environment_of(found)
    file = folder / "default.yaml"
    file.write_text(environment_text(made), encoding="utf-8")
    again = load_environment(file, {"HOME": "/home/me"})
    assert (again.secrets.keys(), again.env.keys()) == (made.secrets.keys(), made.env.keys())


def environment_of(found: Taken) -> Environment:
    return Environment(
        "default",
        found.runtime or RuntimeSpec("self"),
        cuda_home=found.cuda_home,
        hf_home=found.hf_home,
        env=found.env,
        secrets=found.secrets,
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(PIECES | TEXTS, max_size=8).map(tuple))
def test_any_words_of_a_process_are_read_or_refused_in_words(words: tuple[str, ...]) -> None:
    found = in_argv(("vllm", "serve", "X/Y", *words), {}, "/here")
    assert found is not None
    try:
        assert take(found, ENGINES, place()).profile.model.label
    except OrchError as error:
        assert str(error).startswith("cannot ")


# ---------------------------------------------------------------------------------------- scripts that people have


SCRIPT = """\
#!/bin/bash
# what we run on the big machine
set -euo pipefail
source ~/miniconda3/bin/activate llm
export HF_HOME=/data/hf
export HF_TOKEN=hf_NotARealTokenButItLooksLikeOne
export VLLM_LOGGING_LEVEL=INFO  # DEBUG when it hangs
export LD_LIBRARY_PATH=/usr/local/cuda/lib64:${LD_LIBRARY_PATH:-}
NCCL_DEBUG=INFO
MODEL="Qwen/Qwen3-32B-AWQ"
PORT=${PORT:-8001}
EXTRA=(--max-num-seqs 64 --chat-template ./qwen.jinja)

CUDA_VISIBLE_DEVICES=2,3 nohup vllm serve "$MODEL" \\
    --host 0.0.0.0 --port $PORT \\
    --tensor-parallel-size 2 \\
    --served-model-name qwen3-32b \\
    --quantization awq_marlin \\
    --api-key "sk-this-is-what-nobody-may-see" \\
    --max_model_len 32k --gpu-memory-utilization 0.90 \\
    --compilation-config '{"level": 3, "cudagraph_capture_sizes": [1, 2, 4]}' \\
    --no-enable-prefix-caching --enable-auto-tool-choice --tool-call-parser hermes \\
    "${EXTRA[@]}" "$@" \\
    > vllm.log 2>&1 &
echo started
"""

CASES: dict[str, str] = {
    "script": SCRIPT,
    "short": "vllm serve Qwen/Qwen3-32B-AWQ --tensor-parallel-size 2",
    "module": "python3 -m vllm.entrypoints.openai.api_server --model Qwen/Qwen3-8B --port=8080 -q fp8 --seed 0",
    "docker": "docker run -d --runtime nvidia --gpus '\"device=0,1\"' -v ~/.cache/huggingface:/root/.cache/huggingface "
    '-v /data/models:/models -e "HUGGING_FACE_HUB_TOKEN=$HF_TOKEN" --env-file prod.env '
    "-p 127.0.0.1:9000:8000 --ipc=host "
    "vllm/vllm-openai:v0.11.0 --model /models/qwen -tp 2 --chat-template /models/qwen/chat.jinja",
    "conda": "conda run -n llm --no-capture-output vllm serve Qwen/Qwen3-8B",
    "uv": "uv run --with vllm==0.11.0 --python 3.12 vllm serve Qwen/Qwen3-8B --swap-space 4 --disable-log-requests",
    "dotted": "vllm serve Qwen/Qwen3-8B -cc.level 3 --speculative-config.model Org/Draft "
    "--speculative-config.num_speculative_tokens=2 --hf-overrides.a.b+ 1,2",
    "left": "numactl -N 0 vllm serve Qwen/Qwen3-8B --max-model-len auto --gpu-memory-utilization 1.7 "
    "--seed $SEED stray",
    "folder": "cd models && ~/venv/bin/vllm serve ./qwen --lora-modules sql=./sql other=Org/Adapter "
    "--otlp-traces-endpoint http://me:secret@host:4317",
}


@pytest.mark.parametrize("name", CASES)
def test_the_files_of(name: str, tmp_path: Path) -> None:
    found = taken(CASES[name], "/here/qwen.jinja", "/here/models/qwen", "/here/models/sql")
    loaded(found, tmp_path)
    head = ["Not taken over:", *found.left] if found.left else []
    profile = replace(found.profile, environment="default")
    text = profile_text(Draft(profile, head, found.notes))
    parts = [text, environment_text(environment_of(found)), "\n".join(f"orch: {one}" for one in found.remarks)]
    whole = "\n---\n".join(parts)
    assert not any(secret in whole for secret in ("hf_Not", "sk-this", "me:secret"))
    check("init", f"command-{name}", whole)


# -------------------------------------------------------------------------------------------------- one by one


def test_what_stands_around_the_command_becomes_the_environments() -> None:
    assert taken("~/v/bin/python -u -m vllm.entrypoints.cli.main serve X/Y").runtime == RuntimeSpec(
        "venv", "/home/me/v"
    )
    assert taken("conda activate llm; vllm serve X/Y").runtime == RuntimeSpec("conda", "llm")
    assert taken(". ../v/bin/activate && vllm serve X/Y").runtime == RuntimeSpec("venv", "/v")
    assert taken("uv run vllm serve X/Y").runtime == RuntimeSpec("venv", "/here/.venv")
    assert taken("tmux new -d 'cd /srv && uv run vllm serve X/Y'").runtime == RuntimeSpec("venv", "/srv/.venv")
    assert taken("uvx --from vllm==0.11.0 vllm serve X/Y").runtime == RuntimeSpec(
        "requirements", requirements=("vllm==0.11.0",)
    )
    assert taken("vllm serve X/Y").runtime is None


def test_a_secret_is_a_reference_to_where_it_was() -> None:
    found = taken("export HUGGING_FACE_HUB_TOKEN=$(cat ~/.hf); vllm serve X/Y --api-key $OUR_KEY")
    assert found.secrets == {"HF_TOKEN": SecretRef("file", "~/.hf"), "VLLM_API_KEY": SecretRef("env", "OUR_KEY")}
    plain = taken("MY_PASSWORD=hunter2 vllm serve X/Y --hf_token=hf_abc --api-key key1 key2")
    assert plain.secrets["HF_TOKEN"] == SecretRef("env", "HF_TOKEN")
    assert not any(secret in repr(plain) for secret in ("hunter2", "hf_abc", "key1", "key2"))
    assert plain.left == ("1 more of the values of --api-key: a secret holds one",)


@pytest.mark.parametrize(
    "text",
    [
        "vllm serve X/Y --seed 1 {}",
        "vllm serve X/Y --no-such-flag {}",
        "vllm serve X/Y --host {}",
        'vllm serve X/Y --kv-transfer-config \'{{"token": "{}"}}\'',
        "vllm serve X/Y --lora-modules a={}",
        "vllm serve X/Y -api-key {}",
        "vllm serve X/Y --api-k={}",
        "SOME_KEY={} vllm serve X/Y",
        "OTHER={} vllm serve X/Y",
        "docker run -e A={} vllm/vllm-openai --model X/Y",
        "vllm serve X/Y --port {} > {}",
    ],
)
def test_a_secret_is_nowhere(text: str) -> None:
    for secret in ("hf_NotARealTokenButItLooksLikeOne", "https://me:secret@host/x", "sk-this-is-what-nobody-may-see"):
        assert secret not in repr(taken(text.replace("{}", secret).replace("{{", "{").replace("}}", "}")))
    with pytest.raises(InputError) as caught:
        taken("vllm serve hf_NotARealTokenButItLooksLikeOne/x/y")
    assert "hf_" not in str(caught.value)


def test_the_weights_folder_of_a_flag_is_the_environments() -> None:
    assert taken("vllm serve X/Y --download-dir /data/hub").hf_home == "/data"
    assert taken("vllm serve X/Y --download-dir /data/w").env == {"HF_HUB_CACHE": "/data/w"}


def test_the_file_of_config_is_taken_over_and_the_command_wins() -> None:
    config = {"port": 1, "tensor-parallel-size": 2, "enforce-eager": True, "hf-overrides": {"a": 1}}
    found = taken("vllm serve X/Y --config c.yaml --port 9", configs={"/here/c.yaml": config})
    serve = found.profile.serve
    assert (serve.port, serve.tensor_parallel_size) == (9, 2)
    assert serve.args == {"enforce_eager": True, "hf_overrides": {"a": 1}}
    assert taken("vllm serve X/Y --config gone.yaml").left == ("--config gone.yaml, a file that cannot be read here",)


@pytest.mark.parametrize(
    ("given", "gpus"),
    [("0,1", ("0", "1")), ("", 0), ("-1", 0), ("GPU-1a", ("GPU-1a",)), ("0,0", "auto"), ("$X", "auto"), ("02", ("2",))],
)
def test_the_cards_of_the_command_are_the_profiles(given: str, gpus: object) -> None:
    found = taken(f"CUDA_VISIBLE_DEVICES={given} vllm serve X/Y")
    assert found.profile.gpus == gpus
    assert bool(found.left) == (gpus == "auto")


def test_without_knowledge_of_the_engine_words_after_a_flag_are_its_values() -> None:
    found = taken("vllm serve --some-switch X/Y --tp-x 2 --no-thing -tp 2 --last", known=False)
    assert found.profile.model.repo == "X/Y"
    assert found.profile.serve.tensor_parallel_size == 2
    assert found.profile.serve.args == {
        "some_switch": True, "tp_x": 2, "thing": False, "last": True
    }  # fmt: skip
    assert found.left == ()
    assert taken("vllm serve X/Y --names a b", known=False).profile.serve.args == {"names": ["a", "b"]}


def test_a_flag_that_adds_one_each_time_is_a_list(tmp_path: Path) -> None:
    found = taken("vllm serve X/Y --middleware a.b --seed 1 --middleware=c.d --seed 2")
    assert found.profile.serve.args == {"middleware": ["a.b", "c.d"], "seed": 2}
    assert (found.left, found.remarks) == ((), ("--seed is given 2 times: the engine takes the last",))
    words = " ".join(rendered(loaded(found, tmp_path)))
    assert "--middleware a.b --middleware c.d --seed 2" in words


def test_a_flag_that_is_abbreviated_is_the_only_one_that_begins_so() -> None:
    found = taken("vllm serve X/Y --tensor-parallel 4 --gpu_memory_util=0.5 --enforce")
    assert found.profile.serve.tensor_parallel_size == 4
    assert found.profile.serve.gpu_memory_utilization == 0.5
    assert found.profile.serve.args == {"enforce_eager": True}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("echo hello", "no command in it is `vllm serve`"),
        ("vllm serve A/B\nvllm serve C/D", "it starts 2 engines (line 1 and line 2)"),
        ("vllm serve --port 1", "it does not say which model"),
        ("vllm serve $MODEL", "its model is $MODEL, which only the shell that runs it knows"),
        ("vllm serve s3://bucket/x", "s3://bucket/x is neither a repository on the Hub nor a folder here"),
        ("vllm serve 'A/B", "the quote that opens here is never closed (line 1, column 12)"),
        ("vllm serve A/B $(date", "the ( that opens here is never closed"),
        ("x" * 70_000, "it is longer than a script that starts one engine"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(InputError) as caught:
        taken(text)
    assert why in str(caught.value)
