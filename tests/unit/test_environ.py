"""The engine's environment comes from the files, not from whatever shell called orch."""

import re
from dataclasses import replace

import pytest
from builders import wanted
from hypothesis import given
from hypothesis import strategies as st
from strategies import specs

from orchestrator.codec import read_spec
from orchestrator.environ import BASELINE, MARK, SPEC, baseline, child, join_path, read_marker, write_marker
from orchestrator.model import Marker, Placement, RuntimeInfo, Spec

INFO = RuntimeInfo("venv-1", "/venv", "/venv/bin/python", "vllm", "0.32.0", ("/venv/bin/vllm",), "serve")
MARKER = Marker("lab-1234", "qwen", "00001-abcd")
SPEC_ONLY = wanted().spec

variables = st.dictionaries(st.text("ABCLDPATH_xyz", min_size=1, max_size=8), st.text(max_size=5), max_size=6)
paths = st.lists(st.sampled_from(("", "/a", "/b", "/usr/bin")), max_size=5).map(":".join)
parts = st.text("abcXYZ019-_.:", min_size=1, max_size=8)


@given(variables, st.fixed_dictionaries({"PATH": paths, "LD_LIBRARY_PATH": paths, "PYTHONPATH": paths}), specs)
def test_what_the_caller_has_beyond_the_baseline_never_leaks(
    extra: dict[str, str], usual: dict[str, str], spec: Spec
) -> None:
    home = {"HOME": "/home/u", "LANG": "C"}
    noise = {key: value for key, value in (extra | usual).items() if key not in BASELINE}
    assert child(noise | home, INFO, spec, MARKER) == child(home, INFO, spec, MARKER)


def test_the_baseline_is_taken_over() -> None:
    given_ = {name: f"value of {name}" for name in BASELINE}
    env = child(given_ | {"OTHER": "x"}, INFO, SPEC_ONLY, MARKER)
    assert given_.items() <= env.items()
    assert baseline(given_ | {"OTHER": "x"}) == given_


@given(paths, st.none() | st.just("/cuda"))
def test_no_entry_of_path_is_empty_or_comes_twice(path: str, cuda: str | None) -> None:
    env = child({"PATH": ":/caller:"}, replace(INFO, env={"PATH": path}), replace(SPEC_ONLY, cuda_home=cuda), MARKER)
    entries = env["PATH"].split(":")
    assert "" not in entries
    assert len(set(entries)) == len(entries)
    assert entries[0] == "/venv/bin"
    assert ("/cuda/bin" in entries) == (cuda is not None)


def test_join_path() -> None:
    assert join_path(["", "/b", "/a", "", "/b"]) == "/b:/a"
    assert join_path([]) == ""


@given(parts, parts, parts, st.just("") | parts)
def test_a_marker_is_read_back(project: str, name: str, attempt: str, owner: str) -> None:
    marker = Marker(project, name, attempt, owner)
    assert read_marker(write_marker(marker)) == marker


@pytest.mark.parametrize("text", ["", "a", "a/b/c", "a/b/c/d/e", "/b/c/", "a//c/", "a/b//"])
def test_what_is_no_marker_is_none(text: str) -> None:
    assert read_marker(text) is None


def test_the_users_variables_have_the_last_word() -> None:
    env = {"PATH": "/mine", "HOME": "/elsewhere", "CUDA_HOME": "/c2", "HF_HOME": "/h2"}
    spec = replace(SPEC_ONLY, env=env, cuda_home="/c1", hf_home="/h1", gpus=("0",))
    assert env.items() <= child({"HOME": "/home/u"}, INFO, spec, MARKER).items()


def test_except_over_which_cards_it_sees() -> None:
    spec = replace(SPEC_ONLY, env={"CUDA_VISIBLE_DEVICES": "7"})
    env = child({}, INFO, spec, MARKER, Placement(("GPU-a", "GPU-b"), (0, 1), (1, 1)))
    assert env["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"


def test_except_over_what_orch_finds_its_processes_by() -> None:
    spec = replace(SPEC_ONLY, env={MARK: "x/y/z/", SPEC: "{}", "SPT_NOENV": ""})
    env = child({}, INFO, spec, MARKER)
    assert read_marker(env[MARK]) == MARKER
    assert read_spec(env[SPEC]) == spec
    assert env["SPT_NOENV"] == "1"


def test_secrets_are_not_there_even_if_the_caller_has_them() -> None:
    spec = replace(SPEC_ONLY, secrets={"HF_TOKEN": "k1:aa"})
    env = child({"HF_TOKEN": "hf_value", "HOME": "/h"}, INFO, spec, MARKER)
    assert "HF_TOKEN" not in env
    assert not any(re.search("hf_value", value) for value in env.values())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}),
        ({"gpus": ("2", "0")}, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "2,0"}),
        ({"gpus": 2}, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}),
        ({"cuda_home": "/c"}, {"CUDA_HOME": "/c", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}),
        ({"hf_home": "/h"}, {"HF_HOME": "/h", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}),
    ],
)
def test_what_each_field_sets(fields: dict[str, object], expected: dict[str, str]) -> None:
    env = child({}, INFO, wanted(**fields).spec, MARKER)
    watched = {key: value for key, value in env.items() if key.startswith(("CUDA", "HF"))}
    assert watched == {"HF_HUB_OFFLINE": "1", **expected}


def test_a_conda_runtime_brings_its_activation() -> None:
    conda = replace(INFO, key="conda-1", prefix="/conda", env={"PATH": "/conda/condabin:/usr/bin", "X": "1"})
    env = child({}, conda, SPEC_ONLY, MARKER)
    assert (env["CONDA_PREFIX"], env["X"], "VIRTUAL_ENV" in env) == ("/conda", "1", False)
    assert env["PATH"].startswith("/conda/bin:/conda/condabin:/usr/bin:")
    assert child({}, INFO, SPEC_ONLY, MARKER)["VIRTUAL_ENV"] == "/venv"
