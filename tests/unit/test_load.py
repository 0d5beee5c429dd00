import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import InputError, OrchError
from orchestrator.load import clashes, load_environment, load_profile, load_set, schema_text
from orchestrator.model import Environment, Profile, RuntimeSpec, SecretRef
from orchestrator.project import project_root
from orchestrator.resolve import resolve

PROJECT = Path(__file__).parents[2]
PROFILE = "name: a\nenvironment: cpu\nmodel: {repo: Qwen/Qwen3-4B}\n"
ENVIRONMENT = "name: e\nruntime: {conda: llm}\n"

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a file below the working directory, which is an empty project."""
    monkeypatch.chdir(tmp_path)

    def _write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    return _write


def refusal(call: Callable[..., Any], *args: Any) -> list[str]:
    with pytest.raises(OrchError) as caught:
        call(*args)
    return str(caught.value).splitlines()


# ------------------------------------------------------------------------------------------------------ good files


def test_every_field_of_a_profile(write: Write) -> None:
    text = """\
name: big
environment: gpu
model: {repo: Qwen/Qwen3-32B-AWQ, revision: main, quantization: awq_marlin}
serve:
  names: [big, alias]
  host: 0.0.0.0
  port: 9000
  tensor_parallel_size: auto
  pipeline_parallel_size: 2
  max_model_len: 40960
  gpu_memory_utilization: 1
  args: {max-num-seqs: 4, enforce_eager: true, compilation_config.pass-config: {a: 1}, lora: [a, b], word: "no"}
gpus: [0, "1", GPU-6f1c]
readiness: {timeout: 1h30m}
restart: {policy: always, attempts: 0}
drain: 45
fit: warn
"""
    profile = load_profile(write("profiles/big.yaml", text), {})
    assert (profile.name, profile.environment, profile.text) == ("big", "gpu", text)
    assert (profile.model.repo, profile.model.revision, profile.model.quantization) == (
        "Qwen/Qwen3-32B-AWQ",
        "main",
        "awq_marlin",
    )
    serve = profile.serve
    assert (serve.names, serve.host, serve.port, serve.tensor_parallel_size) == (
        ("big", "alias"),
        "0.0.0.0",
        9000,
        "auto",
    )
    assert (serve.pipeline_parallel_size, serve.max_model_len, serve.gpu_memory_utilization) == (2, 40960, 1.0)
    assert serve.args == {
        "max_num_seqs": 4,
        "enforce_eager": True,
        "compilation_config.pass-config": {"a": 1},
        "lora": ["a", "b"],
        "word": "no",
    }
    assert profile.gpus == ("0", "1", "GPU-6f1c")
    assert (profile.ready_timeout, profile.drain, profile.fit) == (5400, 45, "warn")
    assert (profile.restart.policy, profile.restart.attempts) == ("always", 0)
    assert profile.source.at("serve", "port") == "profiles/big.yaml:7:3"


def test_what_a_profile_does_not_say_is_the_default(write: Write) -> None:
    profile = load_profile(write("a.yaml", PROFILE), {})
    assert replace(profile, model=replace(profile.model, repo=None)) == Profile(
        "a", "cpu", replace(profile.model, repo=None)
    )


def test_every_field_of_an_environment(write: Write) -> None:
    text = """\
name: gpu
runtime:
  requirements: [vllm==0.32.0, "${EXTRA:-}"]
  constraints: [numpy<3]
  overrides: ['torchvision ; sys_platform == "never"']
  find_links: [wheels, "https://example.org/${CUDA:-cu128}"]
  index: ["https://example.org/simple"]
  torch_backend: ${TORCH:-cpu}
  python: "3.12"
cuda: {home: "${CUDA_HOME}", libcuda: "off"}
cache: {hf_home: ~/hf, transfer: ranged}
env: {A: "x$$y", B: 1.10, C: "${EMPTY}"}
secrets: {T: {env: T}, U: {file: ../t}}
host: {gpus: {model: RTX, count: 4, memory: 49140MiB, compute_capability: "8.9"}}
backend: systemd
"""
    variables = {"HOME": "/home/me", "CUDA_HOME": "/usr/local/cuda", "EMPTY": "", "CUDA": ""}
    file = write("environments/gpu.yaml", text)
    environment = load_environment(file, variables)
    assert environment.runtime == RuntimeSpec(
        kind="requirements",
        requirements=("vllm==0.32.0",),
        constraints=("numpy<3",),
        overrides=('torchvision ; sys_platform == "never"',),
        find_links=(f"{file.parent}/wheels", "https://example.org/cu128"),
        index=("https://example.org/simple",),
        torch_backend="cpu",
        python="3.12",
    )
    assert (environment.cuda_home, environment.libcuda, environment.hf_home) == (
        "/usr/local/cuda",
        "off",
        "/home/me/hf",
    )
    assert environment.transfer == "ranged"
    assert environment.backend == "systemd"
    assert environment.env == {"A": "x$y", "B": "1.10", "C": ""}
    assert environment.secrets == {"T": SecretRef("env", "T"), "U": SecretRef("file", f"{file.parents[1]}/t")}
    gpus = environment.host_gpus
    assert gpus is not None
    assert (gpus.model, gpus.count, gpus.memory, gpus.compute_capability) == ("RTX", 4, 49140 << 20, "8.9")
    assert environment.source.at("cache", "hf_home") == "environments/gpu.yaml:11:9"


def test_what_an_environment_does_not_say_is_the_default(write: Write) -> None:
    found = load_environment(write("environments/e.yaml", ENVIRONMENT), {})
    assert found == Environment("e", RuntimeSpec("conda", "llm"))
    assert found.transfer == "auto"
    assert found.backend == "local"
    assert found.warnings == ()


@pytest.mark.parametrize("backend", ["local", "systemd"])
def test_what_an_engine_is_to_the_system_is_part_of_the_spec(write: Write, backend: str) -> None:
    profile = load_profile(write("profiles/a.yaml", PROFILE), {})
    file = write("environments/e.yaml", f"{ENVIRONMENT}backend: {backend}\n")
    assert resolve(profile, load_environment(file, {}), {}).spec.backend == backend


@pytest.mark.parametrize("transfer", ["auto", "xet", "ranged", "hf_transfer"])
def test_how_weights_are_fetched_is_orchs_policy_and_no_part_of_the_spec(write: Write, transfer: str) -> None:
    profile = load_profile(write("profiles/a.yaml", PROFILE), {})
    plain = resolve(profile, load_environment(write("environments/e.yaml", ENVIRONMENT), {}), {})
    file = write("environments/e.yaml", f"{ENVIRONMENT}cache: {{transfer: {transfer}}}\n")
    chosen = resolve(profile, load_environment(file, {}), {})
    assert chosen.policy == replace(plain.policy, transfer=transfer)
    assert chosen.spec == plain.spec


@pytest.mark.parametrize(
    ("runtime", "kind", "where"),
    [
        ("{conda: llm}", "conda", "llm"),
        ("{conda: ~/envs/llm}", "conda", "/home/me/envs/llm"),
        ("{venv: ../venv}", "venv", "{folder}/venv"),
        ("{venv: '${V}'}", "venv", "/v"),
        ("{self: true}", "self", ""),
    ],
)
def test_runtimes_that_exist(write: Write, runtime: str, kind: str, where: str) -> None:
    file = write("environments/e.yaml", f"name: e\nruntime: {runtime}\n")
    found = load_environment(file, {"HOME": "/home/me", "V": "/v"}).runtime
    assert (found.kind, found.where) == (kind, where.format(folder=file.parents[1]))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("models/x", "{folder}/models/x"),
        ("../x", "{parent}/x"),
        ("/m/x", "/m/x"),
        ("~/x", "/home/me/x"),
        ("${M}/x", "/m/x"),
    ],
)
def test_a_models_folder_is_relative_to_the_file_that_says_it(write: Write, path: str, expected: str) -> None:
    file = write("profiles/a.yaml", f"name: a\nenvironment: cpu\nmodel: {{path: '{path}'}}\n")
    profile = load_profile(file, {"HOME": "/home/me", "M": "/m"})
    assert profile.model.path == expected.format(folder=file.parent, parent=file.parents[1])


def test_variables_are_left_alone_where_they_are_not_documented(write: Write) -> None:
    profile = load_profile(write("a.yaml", PROFILE + "serve: {names: ['${X}'], args: {a: '${Y}'}}"), {})
    assert (profile.serve.names, profile.serve.args) == (("${X}",), {"a": "${Y}"})


# ------------------------------------------------------------------------------------------------------- bad files

NAME = 'a name of 1 to 63 small letters, digits, ".", "-" and "_" that starts and ends with a letter or digit'
NO_YES = "is text in YAML 1.2 and a truth value in YAML 1.1; write true or false, or quote it"
UNSAFE = "in the environment: a command line is visible to every user"

BAD_PROFILES = [
    ("[]", ["1:1: cannot use the profile: a list is not a section of keys and values"]),
    (
        "name: a",
        [
            "1:1: cannot use the profile: environment is missing; add environment: cpu",
            "1:1: cannot use the profile: model is missing; add model: {repo: Qwen/Qwen3-32B}",
        ],
    ),
    (PROFILE + "port: 1", ["4:1: cannot use port: a profile has no such key; did you mean serve.port?"]),
    (PROFILE + "serve:\n  prt: 1", ["5:3: cannot use serve.prt: serve has no such key; did you mean serve.port?"]),
    (PROFILE + "serv: {}", ["4:1: cannot use serv: a profile has no such key; did you mean serve?"]),
    (
        PROFILE + "gpu-memory-utilisation: 1",
        [
            "4:1: cannot use gpu-memory-utilisation: a profile has no such key; "
            "did you mean serve.gpu_memory_utilization?"
        ],
    ),
    (
        PROFILE + "serve: {enforce_eager: true}",
        [
            "4:9: cannot use serve.enforce_eager: serve has no such key; "
            "a flag of the engine itself goes under serve.args"
        ],
    ),
    (
        PROFILE + '"x\\e[1m": 1',
        [
            '4:1: cannot use "x\\u001b[1m": a profile has no such key; '
            "it has drain, environment, fit, gpus, model, name, readiness, restart and serve"
        ],
    ),
    (
        PROFILE + "serve: {port: 99999, names: [], max_model_len: 0, tensor_parallel_size: many}",
        [
            "4:9: cannot use serve.port: 99999 is not a whole number from 1 to 65535; write for example port: 8000",
            "4:22: cannot use serve.names: the list is empty; write for example names: [qwen3-32b]",
            "4:33: cannot use serve.max_model_len: 0 is not a whole number of tokens from 1; "
            "write for example max_model_len: 32768",
            '4:51: cannot use serve.tensor_parallel_size: "many" is not auto or a whole number from 1; '
            "write for example tensor_parallel_size: 2",
        ],
    ),
    (
        PROFILE + "serve: {gpu_memory_utilization: 90, names: [a, a], pipeline_parallel_size: true}",
        [
            "4:9: cannot use serve.gpu_memory_utilization: 90 is not a number above 0 and up to 1; "
            "write for example gpu_memory_utilization: 0.9",
            "4:37: cannot use serve.names: the list holds the same twice; write for example names: [qwen3-32b]",
            "4:52: cannot use serve.pipeline_parallel_size: true is not a whole number from 1; "
            "write for example pipeline_parallel_size: 1",
        ],
    ),
    (PROFILE + "serve:", ["4:1: cannot use serve: it is empty; give it a value, or remove the line"]),
    (
        PROFILE + "serve:\n  port: ${PORT}",
        [
            '5:3: cannot use serve.port: "${PORT}" is not a whole number from 1 to 65535, '
            "and ${...} is not expanded here; write for example port: 8000"
        ],
    ),
    (
        PROFILE + "serve: {names: qwen}",
        ['4:9: cannot use serve.names: "qwen" is not a list of different names; write for example names: [qwen3-32b]'],
    ),
    (
        PROFILE + "gpus: four",
        [
            '4:1: cannot use gpus: "four" is not auto, a count, or a list of indexes (0, 1, ...) and UUIDs; '
            "write for example gpus: auto"
        ],
    ),
    (PROFILE + "gpus: [0, '0']", ["4:1: cannot use gpus: the same GPU is listed twice; remove one of the two"]),
    (
        PROFILE + "drain: 30 fortnights\nreadiness: {timeout: 0}",
        [
            '4:1: cannot use drain: "30 fortnights" is not a duration such as 20m or 1h30m',
            "5:13: cannot use readiness.timeout: nothing is ready in no time; write for example timeout: 20m",
        ],
    ),
    (PROFILE + "drain: -1", ["4:1: cannot use drain: -1 is not a duration such as 20m or 1h30m"]),
    (
        PROFILE + "restart: {policy: sometimes, attempts: -1}",
        [
            '4:11: cannot use restart.policy: "sometimes" is not never, on-failure or always; '
            "write for example policy: on-failure",
            "4:30: cannot use restart.attempts: -1 is not a whole number from 0; write for example attempts: 5",
        ],
    ),
    (
        "name: A B\nenvironment: ../x\nmodel: Qwen/Qwen3",
        [
            f'1:1: cannot use name: "A B" is not {NAME}; write for example name: qwen32b',
            '2:1: cannot use environment: "../x" is not the name of a file in environments/, without its ending; '
            "write for example environment: cpu",
            '3:1: cannot use model: "Qwen/Qwen3" is not a section with repo or path; '
            "write for example model: {repo: Qwen/Qwen3-32B}",
        ],
    ),
    (
        'name: "a\\n"\nenvironment: cpu\nmodel: {path: x}',
        [f'1:1: cannot use name: "a\\n" is not {NAME}; write for example name: qwen32b'],
    ),
    (
        "name: a\nenvironment: cpu\nmodel: {}",
        ["3:1: cannot use model: it needs exactly one of repo and path, and has none of them; add one"],
    ),
    (
        "name: a\nenvironment: cpu\nmodel: {repo: x, path: y}",
        ["3:1: cannot use model: it needs exactly one of repo and path, and has repo and path; remove all but one"],
    ),
    (
        "name: 12\nenvironment: cpu\nmodel: {repo: /models/x, revision: 1e5}",
        [
            f'1:1: cannot use name: 12 is not {NAME}; quote it: "12"',
            '3:9: cannot use model.repo: "/models/x" is not a repository on the Hub, OWNER/NAME or OWNER/NAME:QUANT '
            "(a folder goes under model.path)",
            '3:26: cannot use model.revision: 100000.0 is not a branch, a tag or a commit; quote it: "1e5"',
        ],
    ),
    (
        PROFILE + "serve: {args: {port: 1, api-key: s, max-num-seqs: 1, max_num_seqs: 2, --x: 1}}",
        [
            "4:16: cannot use serve.args.port: orch sets this flag itself; use serve.port",
            "4:25: cannot use serve.args.api-key: orch sets this flag itself; use secrets: VLLM_API_KEY " + UNSAFE,
            "4:54: cannot use serve.args.max_num_seqs: it is the same flag as max-num-seqs; remove one of the two",
            '4:71: cannot use serve.args.--x: "--x" is not the name of a flag without dashes in front',
        ],
    ),
    (
        PROFILE + "serve: {args: {a: no, b: [on], c: {d: Yes}, e: , f: [[1]], g: y}}",
        [
            f"4:16: cannot use serve.args.a: no {NO_YES}",
            f"4:27: cannot use serve.args.b[0]: on {NO_YES}",
            f"4:36: cannot use serve.args.c.d: Yes {NO_YES}",
            "4:45: cannot use serve.args.e: it is empty; give it a value, or remove the line",
            "4:50: cannot use serve.args.f: a list is not true, false, a number, text, a list of those, or a section",
            f"4:60: cannot use serve.args.g: y {NO_YES}",
        ],
    ),
    (
        "name: a\nenvironment: cpu\nmodel: {path: '${NOPE}/x'}\nserve: {host: '${BAD'}",
        [
            "3:9: cannot use model.path: the variable NOPE is not set; set it, or write ${NOPE:-DEFAULT}",
            '4:9: cannot use serve.host: "${" starts no variable; write ${NAME}, ${NAME:-default}, or $${ for the text',
        ],
    ),
    (
        "name: a\nenvironment: cpu\nmodel: {path: '${EMPTY:-}'}\nserve: {host: 'http://x'}",
        [
            "3:9: cannot use model.path: ${EMPTY:-} comes out empty; set the variable, or write the value",
            '4:9: cannot use serve.host: "http://x" is not an address such as 127.0.0.1',
        ],
    ),
]

BAD_ENVIRONMENTS = [
    (
        "name: f\nruntime: {conda: a, venv: b}",
        [
            'cannot use name: it is "f" and the file is called e; make them equal',
            "cannot use runtime: it needs exactly one of conda, venv, self and requirements, and has conda and venv; "
            "remove all but one",
        ],
    ),
    (
        "name: e\nruntime: {conda: x, python: '3', overrides: []}",
        [
            "cannot use runtime.python: it only goes with requirements; remove it",
            "cannot use runtime.overrides: it only goes with requirements; remove it",
        ],
    ),
    ("name: e\nruntime: {self: false}", ["cannot use runtime.self: false is not true; write for example self: true"]),
    (
        "name: e\nruntime: {requirements: []}",
        ["cannot use runtime.requirements: the list is empty; write for example requirements: [vllm==0.32.0]"],
    ),
    (
        "name: e\nruntime: {requirements: ['${R:-}']}",
        ["cannot use runtime.requirements: the list comes out empty; set a variable in it, or write a line"],
    ),
    ("name: e\nruntime: {requirements: vllm}", ['cannot use runtime.requirements: "vllm" is not a list of texts']),
    (
        ENVIRONMENT + "env: {A: true, C: , D-E: 1, HF_TOKEN: x, G: y}\nsecrets: {G: {env: G}}",
        [
            'cannot use env.A: true is not text or a number; quote it: "true"',
            "cannot use env.C: it is empty; give it a value, or remove the line",
            'cannot use env.D-E: "D-E" is not the name of a variable',
            "cannot use env.HF_TOKEN: a secret does not belong in a file whose values are shown and recorded; "
            "move it to secrets: {HF_TOKEN: {env: HF_TOKEN}}",
            "cannot use env.G: it is under secrets too; remove one of the two",
        ],
    ),
    (
        ENVIRONMENT + "host: {gpus: {count: 1, memory: 5 lightyears, compute_capability: 8.9}}",
        [
            'cannot use host.gpus.memory: "5 lightyears" is not a size such as 49140MiB or 49 GB',
            'cannot use host.gpus.compute_capability: 8.9 is not a number with a point, in quotes; quote it: "8.9"',
        ],
    ),
    (
        ENVIRONMENT + "cache: {transfer: fast, transfers: 1}",
        [
            'cannot use cache.transfer: "fast" is not auto, xet, ranged or hf_transfer; '
            "write for example transfer: auto",
            "cannot use cache.transfers: cache has no such key; did you mean cache.transfer?",
        ],
    ),
    (
        ENVIRONMENT + "env: {HUGGING_FACE_HUB_TOKEN: x}",
        [
            "cannot use env.HUGGING_FACE_HUB_TOKEN: a secret does not belong in a file whose values are shown and "
            "recorded; move it to secrets: {HF_TOKEN: {env: HUGGING_FACE_HUB_TOKEN}}",
        ],
    ),
    (
        ENVIRONMENT + "cuda: {home: ~/x, libcuda: no, hf_home: x}",
        [
            "cannot use cuda.home: ~ stands for $HOME, which is not set; write the path out",
            'cannot use cuda.libcuda: "no" is not auto, off or the full path of a libcuda.so.1; '
            "write for example libcuda: auto",
            "cannot use cuda.hf_home: cuda has no such key; did you mean cache.hf_home?",
        ],
    ),
]


@pytest.mark.parametrize(("text", "messages"), BAD_PROFILES)
def test_bad_profiles(write: Write, text: str, messages: list[str]) -> None:
    assert refusal(load_profile, write("p.yaml", text), {}) == [f"p.yaml:{message}" for message in messages]


@pytest.mark.parametrize(("text", "messages"), BAD_ENVIRONMENTS)
def test_bad_environments(write: Write, text: str, messages: list[str]) -> None:
    lines = refusal(load_environment, write("e.yaml", text), {})
    assert [line.split(": ", 1)[1] for line in lines] == messages
    assert all(line.startswith("e.yaml:") for line in lines)


OLD_NAMES = [
    (
        "env: {HF_HUB_ENABLE_HF_TRANSFER: 1}",
        [
            "3:7: warning: env.HF_HUB_ENABLE_HF_TRANSFER is an old name, which huggingface_hub ignores since 1.0; "
            "use cache.transfer: hf_transfer for what orch downloads, or HF_XET_HIGH_PERFORMANCE: 1 for what the Hub's "
            "own client does"
        ],
    ),
    ("env: {HF_HUB_ENABLE_HF_TRANSFER: 0}", []),
    ("env: {HF_HUB_ENABLE_HF_TRANSFER: '${OFF}'}", []),
    (
        "env:\n  HUGGINGFACE_HUB_VERBOSITY: debug\n  A: b\n  HUGGINGFACE_HUB_CACHE: /c",
        [
            "4:3: warning: env.HUGGINGFACE_HUB_VERBOSITY is an old name, which huggingface_hub does not read; "
            "write HF_HUB_VERBOSITY",
            "6:3: warning: env.HUGGINGFACE_HUB_CACHE is an old name; use cache.hf_home, or HF_HUB_CACHE",
        ],
    ),
    (
        "env: {TRANSFORMERS_CACHE: /c, PYTORCH_TRANSFORMERS_CACHE: /c, PYTORCH_PRETRAINED_BERT_CACHE: /c}",
        [
            f"3:{column}: warning: env.{name} is an old name, which huggingface_hub does not read: no weights are kept "
            "there; use cache.hf_home, or HF_HUB_CACHE"
            for column, name in (
                (7, "TRANSFORMERS_CACHE"),
                (31, "PYTORCH_TRANSFORMERS_CACHE"),
                (63, "PYTORCH_PRETRAINED_BERT_CACHE"),
            )
        ],
    ),
    (
        "secrets: {HUGGING_FACE_HUB_TOKEN: {env: T}, HF_HUB_ENABLE_HF_TRANSFER: {env: T}}\n"
        "env: {TRANSFORMERS_OFFLINE: 0, HF_HUB_OFFLINE: 1, HF_XET_HIGH_PERFORMANCE: 1}",
        [
            "3:11: warning: secrets.HUGGING_FACE_HUB_TOKEN is an old name; write HF_TOKEN",
            "3:45: warning: secrets.HF_HUB_ENABLE_HF_TRANSFER is an old name, which huggingface_hub ignores since 1.0; "
            "remove it: HF_XET_HIGH_PERFORMANCE is given, too",
            "4:7: warning: env.TRANSFORMERS_OFFLINE is an old name; remove it: HF_HUB_OFFLINE is given, too",
        ],
    ),
    (
        "env: {HF_DATASETS_OFFLINE: 1, HF_HOME: /h, HF_HUB_ENABLE_PARALLEL_LOADING: 1}\nsecrets: {HF_TOKEN: {env: T}}",
        [],
    ),
]


@pytest.mark.parametrize(("text", "messages"), OLD_NAMES)
def test_old_names_are_taken_with_a_warning(write: Write, text: str, messages: list[str]) -> None:
    found = load_environment(write("e.yaml", ENVIRONMENT + text), {"OFF": "no"})
    assert [str(notice) for notice in found.warnings] == [f"e.yaml:{message}" for message in messages]


def test_an_old_name_reaches_the_engine_as_it_is_written(write: Write) -> None:
    text = "env: {HUGGINGFACE_HUB_CACHE: /c}\nsecrets: {HUGGING_FACE_HUB_TOKEN: {env: T}}"
    found = load_environment(write("e.yaml", ENVIRONMENT + text), {})
    assert found.env == {"HUGGINGFACE_HUB_CACHE": "/c"}
    assert found.secrets == {"HUGGING_FACE_HUB_TOKEN": SecretRef("env", "T")}


def test_a_pasted_secret_is_never_shown(write: Write) -> None:
    text = (
        ENVIRONMENT
        + """\
secrets:
  A: hf_hunter2
  B: {env: hf-hunter2}
  C: {file: [hf_hunter2]}
  D: [hf_hunter2]
"""
    )
    lines = refusal(load_environment, write("e.yaml", text), {})
    assert lines == [
        "e.yaml:4:3: cannot use secrets.A: what is written here is not {env: NAME} or {file: PATH}",
        "e.yaml:5:7: cannot use secrets.B.env: what is written here is not the name of a variable",
        "e.yaml:6:7: cannot use secrets.C.file: a list is not the path of a file",
        "e.yaml:7:3: cannot use secrets.D: a list is not {env: NAME} or {file: PATH}",
    ]


def test_files_that_cannot_be_read(write: Write, tmp_path: Path) -> None:
    (tmp_path / "big.yaml").write_bytes(b"#" * 10_000_000)
    (tmp_path / "latin.yaml").write_bytes("name: a\nenvironment: größe".encode("latin-1"))
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    write("nul.yaml", "name: a\0")
    expected = {
        "big.yaml": "big.yaml: cannot read: it has 10.0 MB and a profile has at most 1 MiB",
        "latin.yaml": "latin.yaml:2:16: cannot read: it is not UTF-8 text",
        "folder.yaml": "folder.yaml: cannot read: it is a folder",
        "pipe.yaml": "pipe.yaml: cannot read: it is not a regular file",
        "none.yaml": "none.yaml: cannot read: there is no such file",
        "nul.yaml": "nul.yaml:1:8: cannot read YAML: the control character U+0000 stands in it; is it a text file?",
    }
    write("x", "")
    assert {name: refusal(load_profile, name, {})[0] for name in expected} == expected


def test_a_file_outside_the_working_directory_keeps_its_full_path(write: Write, tmp_path: Path) -> None:
    file = write("p.yaml", "name: a")
    write("sub/x", "")
    os.chdir(tmp_path / "sub")
    assert refusal(load_profile, "../p.yaml", {})[0].startswith(f"{file}:1:1: ")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 99999)
    | st.floats(-2, 2)
    | st.sampled_from(["", "a", "auto", "no", "${X}", "~"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["repo", "port", "env", "A"]), inner),
    max_leaves=6,
)
PROFILE_KEYS = sorted(json.loads(schema_text("profile"))["properties"])
ENVIRONMENT_KEYS = sorted(json.loads(schema_text("environment"))["properties"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.dictionaries(st.sampled_from(PROFILE_KEYS), json_values),
    st.dictionaries(st.sampled_from(ENVIRONMENT_KEYS), json_values),
)
def test_any_values_load_or_are_refused_in_words(write: Write, profile: Any, environment: Any) -> None:
    for load, value in ((load_profile, profile), (load_environment, environment)):
        file = write("a.yaml", json.dumps(value) if value else "{}")
        try:
            load(file, {})
        except OrchError as error:
            for line in str(error).splitlines():
                assert line.startswith("a.yaml:1:")
                assert ": cannot " in line


REPOSITORIES = ["Qwen/Qwen3-8B", "gpt2", "a_b/c.d", "A/b-c_d.e", "x" * 96]
GGUF = ["Qwen/Qwen3-8B-GGUF:Q4_K_M", "o/x-GGUF:UD-Q4_K_XL", "o/x:q8.0", "o/x:a--b..git"]
NO_REPOSITORIES = [
    "Qwen/Qwen3..8B",
    "a--b",
    "x/a--b",
    "x.git",
    "o/x.git",
    "x.",
    "o-/x",
    "o/-x",
    "a/b/c",
    "x" * 97,
    "o/\u00e9",
    "gpt2:Q4_K_M",
    "o/x:",
    "o/x:Q4:K",
    "o/x:Q4 K",
    "o/x:Q4/K",
    "o/x.git:Q4",
    "o/a--b:Q4",
    "o/x:\u00e9",
    ":Q4",
]


@pytest.mark.parametrize("name", REPOSITORIES + GGUF + NO_REPOSITORIES)
def test_a_repository_has_a_name_that_the_hub_allows(write: Write, name: str) -> None:
    from huggingface_hub.utils import validate_repo_id

    file = write("a.yaml", f"name: a\nenvironment: cpu\nmodel: {{repo: '{name}'}}\n")
    if name in REPOSITORIES + GGUF:
        validate_repo_id(name.partition(":")[0])
        assert load_profile(file, {}).model.repo == name
    else:
        assert "is not a repository on the Hub" in refusal(load_profile, file, {})[0]


@pytest.mark.parametrize(
    "line", ["https://me:hunter2@h/simple", "x @ git+https://hunter2@h/x.git", "x @ ftp://a:hunter2@h/x"]
)
@pytest.mark.parametrize("key", ["index", "find_links", "requirements", "constraints", "overrides"])
def test_a_url_with_credentials_is_refused_unseen(write: Write, key: str, line: str) -> None:
    lists = {"requirements": ["vllm"]} | {key: ["${URL}"]}
    file = write("e.yaml", json.dumps({"name": "e", "runtime": lists}))
    found = "\n".join(refusal(load_environment, file, {"URL": line}))
    assert f"cannot use runtime.{key}[0]: the URL holds a user name or a password; keep it in ~/.netrc" in found
    assert "hunter2" not in found
    file = write("e.yaml", json.dumps({"name": "e", "runtime": {"requirements": ["vllm"]} | {key: line}}))
    assert "hunter2" not in "\n".join(refusal(load_environment, file, {}))


def test_a_url_without_credentials_is_taken(write: Write) -> None:
    lines = [
        "x @ git+ssh://git@github.com/o/x@v1",
        "y @ https://h:8080/y@1.0/y.whl?a@b",
        "z @ git+https://h/z.git@main",
    ]
    runtime = {"requirements": lines, "index": ["https://h:8080/simple"], "find_links": ["https://h/@me"]}
    assert load_environment(write("e.yaml", json.dumps({"name": "e", "runtime": runtime})), {}).runtime == RuntimeSpec(
        "requirements", requirements=tuple(lines), index=("https://h:8080/simple",), find_links=("https://h/@me",)
    )


@pytest.mark.parametrize("value", ["hunter\n2", "hunter\x1b2", "hunter\udcff2", "hunter2\0"])
@pytest.mark.parametrize(
    ("place", "name"), [("cuda: {home: '${V:-x}'}", "V"), ("env: {A: '${V}'}", "V"), ("cuda: {home: ~/x}", "HOME")]
)
def test_a_variable_that_is_no_text_is_named(write: Write, value: str, place: str, name: str) -> None:
    found = refusal(load_environment, write("e.yaml", f"{ENVIRONMENT}{place}"), {name: value})
    assert len(found) == 1
    assert f"the variable {name} holds a line break, a control character or what is not UTF-8" in found[0]
    assert "hunter" not in found[0]


# ------------------------------------------------------------------------------------------------------- overrides


def test_set_lays_fields_over_the_file(write: Write) -> None:
    file = write("a.yaml", PROFILE + "serve: {args: {max-num-seqs: 4}}\ndrain: 5s\n")
    sets = ["serve.port=8001", "serve.names=[x, y]", "serve.args.max_num_seqs=8", "gpus=2", "gpus=3", "drain=null"]
    profile = load_profile(file, {}, sets)
    assert (profile.serve.port, profile.serve.names, profile.serve.args) == (8001, ("x", "y"), {"max_num_seqs": 8})
    assert (profile.gpus, profile.drain) == (3, 30)
    assert profile.source.at("serve", "port") == "--set serve.port=8001"
    assert profile.source.at("model", "repo") == "a.yaml:3:9"


def test_a_model_given_by_set_is_relative_to_where_one_is(write: Write, tmp_path: Path) -> None:
    file = write("profiles/a.yaml", PROFILE)
    profile = load_profile(file, {}, ["model.repo=null", "model.path=models/x"])
    assert (profile.model.path, profile.model.repo) == (f"{tmp_path}/models/x", None)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("serve.prt=1", "cannot use serve.prt: serve has no such key; did you mean serve.port?"),
        (
            "serve.port=x",
            'cannot use serve.port: "x" is not a whole number from 1 to 65535; write for example port: 8000',
        ),
        ("serve.args.eager=no", f"cannot use serve.args.eager: no {NO_YES}"),
        ("drain", "cannot use it: it is not KEY=VALUE; write for example --set serve.port=8001"),
        ("=1", "cannot use it: it is not KEY=VALUE; write for example --set serve.port=8001"),
        ("drain=", "cannot use it: it is not KEY=VALUE; write for example --set serve.port=8001"),
        ("gpus=[1", 'cannot read its VALUE as YAML: a "," or a "]" is missing in the list; add it'),
        ("name.x=1", "cannot use it: there is no section name"),
        ("serve.names.0=1", "cannot use it: names is a list; set it whole: --set 'serve.names=[...]'"),
    ],
)
def test_a_bad_set_is_named_as_it_was_typed(write: Write, override: str, message: str) -> None:
    file = write("a.yaml", PROFILE + "serve: {names: [a]}\n")
    assert refusal(load_profile, file, {}, [override]) == [f"--set {override}: {message}"]


# ------------------------------------------------------------------------------------------------------------- sets


def project(write: Write, names: Mapping[str, int]) -> None:
    write("environments/cpu.yaml", "name: cpu\nruntime: {self: true}\n")
    for name, port in names.items():
        model = f"model: {{repo: Org/{name.upper()}}}\nserve: {{names: [{name}-served], port: {port}}}\n"
        write(f"profiles/{name}.yaml", f"name: {name}\nenvironment: cpu\n{model}")


def names_of(paths: list[str], root: Path) -> list[str]:
    return [profile.name for profile in load_set(paths, root, {})[0]]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["profiles"], ["one", "two"]),
        (["profiles/two.yaml"], ["two"]),
        (["two", "one"], ["two", "one"]),
        (["Org/TWO"], ["two"]),
        (["one-served"], ["one"]),
        (["one", "profiles/one.yaml", "profiles"], ["one", "two"]),
        ([], []),
    ],
)
def test_what_a_path_stands_for(write: Write, tmp_path: Path, paths: list[str], names: list[str]) -> None:
    project(write, {"one": 8000, "two": 8001})
    assert names_of(paths, tmp_path) == names


def test_a_set_comes_with_its_environments(write: Write, tmp_path: Path) -> None:
    project(write, {"one": 8000, "two": 8001})
    environments = load_set(["one", "two"], tmp_path, {})[1]
    assert {name: type(one) for name, one in environments.items()} == {"cpu": Environment}


def test_a_name_is_found_in_a_file_that_is_called_otherwise(write: Write, tmp_path: Path) -> None:
    project(write, {"one": 8000})
    write("profiles/other.yml", PROFILE.replace("name: a", "name: mine"))
    write("profiles/mine.yaml", PROFILE.replace("name: a", "name: yours"))
    assert names_of(["mine", "yours"], tmp_path) == ["mine", "yours"]


def test_paths_that_stand_for_nothing(write: Write, tmp_path: Path) -> None:
    project(write, {"one": 8000, "two": 8001})
    write("profiles/broken.yaml", "name: [")
    (tmp_path / "empty").mkdir()
    nothing = "there is no such file or folder, and no profile of that name or model under profiles"
    expected = {
        "onne": f'cannot find "onne": {nothing}; did you mean one?',
        "zzz": f'cannot find "zzz": {nothing}; there is broken, one and two',
        "x" * 5000: f"cannot find '{'x' * 199}: {nothing}; there is broken, one and two",
        "empty": "empty: cannot use this folder: it holds no *.yaml or *.yml; name a profile",
        "broken": "profiles/broken.yaml:1:8: cannot read YAML: a value is missing here; write one",
    }
    assert {path: refusal(load_set, [path], tmp_path, {})[0] for path in expected} == expected


def test_a_model_that_several_profiles_serve_is_not_guessed(write: Write, tmp_path: Path) -> None:
    project(write, {"one": 8000})
    write("profiles/two.yaml", PROFILE.replace("Qwen/Qwen3-4B", "Org/ONE"))
    assert refusal(load_set, ["Org/ONE"], tmp_path, {}) == [
        'cannot tell which profile "Org/ONE" is: several serve it: one (profiles/one.yaml); a (profiles/two.yaml); '
        "name one file of them"
    ]


def test_all_errors_of_all_files_come_together(write: Write, tmp_path: Path) -> None:
    project(write, {"one": 8000})
    write("environments/gpu.yaml", "name: gpu\nruntime: {}\n")
    write("profiles/a.yaml", PROFILE + "prot: 1\n")
    write("profiles/b.yaml", PROFILE.replace("cpu", "cpux").replace("name: a", "name: one"))
    write("profiles/c.yaml", PROFILE.replace("cpu", "gpu"))
    assert refusal(load_set, ["profiles", "nope"], tmp_path, {}) == [
        'cannot find "nope": there is no such file or folder, and no profile of that name or model under profiles; '
        "there is a and one",
        "profiles/a.yaml:4:1: cannot use prot: a profile has no such key; did you mean serve.port?",
        "profiles/one.yaml:1:1: cannot use name one: profiles/b.yaml:1:1 has it too; change one of the two",
        "profiles/b.yaml:2:1: cannot use environment: there is no environments/cpux.yaml; did you mean cpu?",
        "environments/gpu.yaml:2:1: cannot use runtime: it needs exactly one of conda, venv, self and requirements, "
        "and has none of them; add one",
    ]


def test_clashes_name_what_two_profiles_both_claim(write: Write, tmp_path: Path) -> None:
    project(write, {"one": 8000, "two": 8001})
    write("profiles/three.yaml", PROFILE.replace("name: a", "name: three") + "gpus: [1, 0]\n")
    write("profiles/four.yaml", PROFILE.replace("name: a", "name: four") + "serve: {port: 8002}\ngpus: [1]\n")
    profiles, _ = load_set(["one", "two", "three", "four"], tmp_path, {})
    assert [str(error) for error in clashes(profiles)] == [
        "profiles/three.yaml:1:1: cannot run three together with one: both claim port 8000 "
        "(one at profiles/one.yaml:4:30); give them to orch separately, or change the port",
        "profiles/four.yaml:5:1: cannot run four together with three: both claim GPU 1 "
        "(three at profiles/three.yaml:4:1); give them to orch separately, or pin another GPU",
    ]
    assert clashes(profiles[:2]) == []


def test_the_projects_root(write: Write, tmp_path: Path) -> None:
    write("p/profiles/deep/a.yaml", PROFILE)
    write("elsewhere/x", "")
    cwd = str(tmp_path / "elsewhere")
    found = {
        "a file": project_root(["nope", "../p/profiles/deep/a.yaml"], None, cwd),
        "a folder": project_root(["../p/profiles"], None, cwd),
        "itself": project_root(["../p"], None, cwd),
        "the working directory": project_root(["nope"], None, str(tmp_path / "p" / "profiles")),
    }
    assert set(found.values()) == {tmp_path / "p"}
    assert project_root([], "../p/profiles", cwd) == tmp_path / "p" / "profiles"
    assert project_root([], None, cwd) == Path(cwd)
    with pytest.raises(InputError, match="cannot use --root nope: there is no such folder"):
        project_root([], "nope", cwd)


# ---------------------------------------------------------------------------------------------------------- shipped


def test_every_shipped_file_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    profiles, environments = load_set(["profiles"], PROJECT, {"HOME": "/home/me"})
    assert {"demo-cpu", "qwen32b-awq", "qwen32b-fp8", "qwen32b", "qwen14b", "qwen4b"} <= {p.name for p in profiles}
    assert {path.stem for path in (PROJECT / "environments").iterdir()} == set(environments)
    assert all(Path(profile.source.file).stem == profile.name for profile in profiles)


@pytest.mark.parametrize("kind", ["profile", "environment"])
def test_the_schemas_describe_every_key_and_their_examples_are_valid(kind: Any) -> None:
    from jsonschema import Draft202012Validator

    schema = json.loads(schema_text(kind))
    Draft202012Validator.check_schema(schema)
    work = list(schema["properties"].items())
    while work:
        name, inner = work.pop()
        assert inner.get("description"), name
        assert inner.get("x-wants") or inner.get("$ref"), name
        for example in inner.get("examples", ()):
            Draft202012Validator({**inner, "$defs": schema.get("$defs", {})}).validate(example)
        work += inner.get("properties", {}).items()


def test_what_only_reading_files_needs_is_not_imported_before() -> None:
    code = "import sys, orchestrator.load; print(sorted({'yaml', 'jsonschema'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert done.stdout.strip() == "[]"
