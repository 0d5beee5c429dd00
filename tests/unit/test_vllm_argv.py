"""From a spec to the exact command line, and to the address where it answers."""

from typing import Any

import pytest
from builders import wanted

from orchestrator.engines.knowledge import Engine, Flag
from orchestrator.engines.vllm import argv, endpoint
from orchestrator.model import Deployment, RuntimeInfo

SERVE = RuntimeInfo("venv-1", "/v", "/v/bin/python", "vllm", "0.32.0", ("/v/bin/vllm", "serve"), "serve")
MODULE = RuntimeInfo("venv-2", "/v", "/v/bin/python", "vllm", "0.10.0", ("/v/bin/python", "-m", "x"), "module")
COMMON = ["--served-model-name", "m", "--host", "127.0.0.1", "--port", "8000"]


def _case(**fields: Any) -> Deployment:
    return wanted(**{"repo": "m", "drain": 0.0} | fields)


def test_serve_style_takes_the_model_by_position() -> None:
    assert argv(_case().spec, SERVE) == ("/v/bin/vllm", "serve", "m", *COMMON)


def test_module_style_takes_the_model_as_a_flag() -> None:
    assert argv(_case().spec, MODULE) == ("/v/bin/python", "-m", "x", "--model", "m", *COMMON)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({}, []),
        ({"enforce_eager": True}, ["--enforce-eager"]),
        ({"enable_prefix_caching": False}, ["--no-enable-prefix-caching"]),
        ({"seed": None}, []),
        ({"max_num_seqs": 0}, ["--max-num-seqs", "0"]),
        ({"seed": -1}, ["--seed=-1"]),
        ({"swap_space": 1.5}, ["--swap-space", "1.5"]),
        ({"chat_template": "-x"}, ["--chat-template=-x"]),
        ({"chat_template": "two words"}, ["--chat-template", "two words"]),
        ({"middleware": ["a", "b"]}, ["--middleware", "a", "b"]),
        ({"cuda_graph_sizes": [1, 2]}, ["--cuda-graph-sizes", "1", "2"]),
        ({"modules": [{"b": 1, "a": None}, [2], True]}, ["--modules", '{"a":null,"b":1}', "[2]", "true"]),
        ({"limit_mm_per_prompt": {"image": 2, "audio": 0}}, ["--limit-mm-per-prompt", '{"audio":0,"image":2}']),
        ({"hf_overrides": {"a": {"b": [True]}}}, ["--hf-overrides", '{"a":{"b":[true]}}']),
        ({"compilation_config.level": 3}, ["--compilation-config.level", "3"]),
        ({"seed": 1, "max_num_seqs": 2, "dtype": "half"}, ["--dtype", "half", "--max-num-seqs", "2", "--seed", "1"]),
    ],
    ids=str,
)
def test_other_flags(args: dict[str, Any], words: list[str]) -> None:
    assert argv(_case(args=args).spec, SERVE)[2:] == ("m", *COMMON, *words)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"drain": 30.0}, "--shutdown-timeout 30"),
        ({"drain": 1.9}, "--shutdown-timeout 1"),
        ({"drain": 0.5}, ""),
        ({"tensor_parallel_size": 4}, "--tensor-parallel-size 4"),
        ({"pipeline_parallel_size": 2}, "--pipeline-parallel-size 2"),
        ({"max_model_len": 40960}, "--max-model-len 40960"),
        ({"gpu_memory_utilization": 0.9}, "--gpu-memory-utilization 0.9"),
        ({"revision": "main", "quantization": "awq"}, "--revision main --quantization awq"),
    ],
    ids=str,
)
def test_flags_that_orch_owns(fields: dict[str, Any], words: str) -> None:
    assert argv(_case(**fields).spec, SERVE)[2:] == ("m", *COMMON, *words.split())


def test_names_address_and_folder() -> None:
    spec = _case(repo=None, path="/m", names=("a", "b"), host="::", port=9000).spec
    assert argv(spec, SERVE)[2:] == ("/m", *["--served-model-name", "a", "b", "--host", "::", "--port", "9000"])


@pytest.mark.parametrize(
    ("host", "args", "url"),
    [
        ("127.0.0.1", {}, "http://127.0.0.1:8000"),
        ("0.0.0.0", {}, "http://127.0.0.1:8000"),
        ("", {}, "http://127.0.0.1:8000"),
        ("::", {}, "http://[::1]:8000"),
        ("fd00::7", {}, "http://[fd00::7]:8000"),
        ("gpu7", {"ssl_certfile": "/c.pem", "ssl_keyfile": "/k.pem"}, "https://gpu7:8000"),
        ("gpu7", {"ssl_certfile": None}, "http://gpu7:8000"),
    ],
)
def test_where_a_client_on_this_machine_finds_it(host: str, args: dict[str, Any], url: str) -> None:
    assert endpoint(_case(host=host, args=args).spec).url == url


# ------------------------------------------------------------------------------------ what is known of the version


def known(*flags: Flag) -> Engine:
    return Engine("1", {flag.name: flag for flag in flags})


def last(args: dict[str, Any], *flags: Flag, drain: float = 0.0) -> list[str]:
    given = argv(_case(args=args, drain=drain).spec, SERVE, None, known(*flags))
    return list(given[given.index("--port") + 2 :])


@pytest.mark.parametrize(
    ("args", "flag", "words"),
    [
        ({"x_y": False}, Flag("x-y", ("--x-y",), type="bool", negations=("--no-x-y",)), ["--no-x-y"]),
        ({"x_y": False}, Flag("x-y", ("--x-y",), type="bool"), []),
        ({"x": ["*"]}, Flag("x", ("--x",), type="json"), ["--x", '["*"]']),
        ({"x": ["a", "b"]}, Flag("x", ("--x",), type="str", repeats=True), ["--x", "a", "--x", "b"]),
        ({"x": ["a", "b"]}, Flag("x", ("--x",), type="str", nargs="+"), ["--x", "a", "b"]),
        ({"x_y.a_b": 3}, Flag("x-y", ("--x-y",), type="json"), ["--x-y.a_b", "3"]),
        ({"z": False}, Flag("x", ("--x",)), ["--no-z"]),
    ],
)
def test_a_flag_is_written_as_its_version_takes_it(args: dict[str, Any], flag: Flag, words: list[str]) -> None:
    assert last(args, flag) == words


def test_an_old_version_is_not_told_how_long_to_drain() -> None:
    assert last({}, drain=30.0) == []
    assert last({}, Flag("shutdown-timeout", ("--shutdown-timeout",)), drain=30.0) == ["--shutdown-timeout", "30"]
