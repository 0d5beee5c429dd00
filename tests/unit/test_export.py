"""The texts of `orch export`, and that bash reads from them what orch meant. The texts are in golden/export."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import golden
import pytest
from builders import wanted
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import PlanError
from orchestrator.export import Export, env_text, script_text
from orchestrator.model import SecretRef

ARGV = ("/opt/vllm/bin/vllm", "serve", "Qwen/Qwen3-32B-AWQ", "--served-model-name", "qwen", "big one", "--port", "8000")
ENV = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "PATH": "/opt/vllm/bin:/usr/bin:/bin", "NOTE": "it's $HOME"}
SECRETS = {
    "HF_TOKEN": SecretRef("env", "HF_TOKEN"),
    "OTHER": SecretRef("env", "TEAM_TOKEN"),
    "VLLM_API_KEY": SecretRef("file", "/etc/my keys/vllm"),
}
QWEN = replace(wanted(), file="/lab/profiles/qwen.yaml")
PINNED = ENV | {"CUDA_VISIBLE_DEVICES": "GPU-7,GPU-9"}

CASES = {
    "plain": Export(QWEN, ARGV, ENV, "vllm 0.32.0"),
    "placed": Export(QWEN, ARGV, PINNED, "vllm 0.32.0", placed=True),
    "pinned": Export(replace(QWEN, given=("serve.port=8001",)), ARGV, PINNED, "vllm 0.32.0"),
    "hidden": Export(QWEN, ARGV, ENV | {"CUDA_VISIBLE_DEVICES": ""}, "vllm 0.32.0"),
    "secrets": Export(replace(QWEN, secret_refs=SECRETS), ARGV, ENV | {"OTHER": "not this"}, "vllm 0.32.0"),
}

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30) | st.text("'\"\\$`(){};&|\n ~*#!=-")
"""What a program can be given: everything but NUL, and with preference what a shell takes for its own."""


@pytest.mark.parametrize("name", CASES)
def test_the_text_is_as_agreed(name: str) -> None:
    golden.check("export", f"{name}.script", script_text(CASES[name]))
    golden.check("export", f"{name}.env", env_text(CASES[name]))


def test_no_golden_text_is_left_over() -> None:
    assert golden.unused("export", {f"{name}.{form}" for name in CASES for form in ("script", "env")}) == set()


def test_a_program_that_env_would_take_for_a_variable_is_refused() -> None:
    with pytest.raises(PlanError, match="holds a =; use --format env"):
        script_text(Export(QWEN, ("/opt/a=b/bin/vllm",), ENV, "vllm"))


def bash(script: str, env: dict[str, str]) -> bytes:
    command = ["bash", "-c", script]
    return subprocess.run(command, env=env, capture_output=True, check=True, timeout=20).stdout


def environment(listed: bytes) -> dict[str, str]:
    pairs = (item.decode().partition("=") for item in listed.split(b"\0") if item)
    return {name: value for name, _, value in pairs}


@settings(max_examples=40, deadline=None)
@given(values=st.dictionaries(st.from_regex(r"X_[A-Z0-9_]{1,8}", fullmatch=True), words, max_size=5))
def test_what_is_sourced_has_the_very_values(values: dict[str, str]) -> None:
    text = env_text(Export(QWEN, ARGV, values, "vllm"))
    found = environment(bash(f"{text}\nenv -0", {"PATH": os.environ["PATH"]}))
    assert {name: value for name, value in found.items() if name.startswith("X_")} == values


@settings(max_examples=40, deadline=None)
@given(value=words, args=st.lists(words, max_size=5), where=words)
def test_what_is_run_has_the_very_values_and_words(value: str, args: list[str], where: str) -> None:
    """``where`` stands in the comment."""
    show = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, [*sys.argv[1:], os.environ['X']])))"
    argv = ("/usr/bin/env", "python3", "-c", show, *args)
    made = Export(replace(QWEN, file=where), argv, {"X": value, "PATH": os.environ["PATH"]}, "vllm")
    printed = bash(script_text(made), {"PATH": os.environ["PATH"]})
    assert printed.split(b"\0") == [word.encode() for word in (*args, value)]


def only(env: dict[str, str], secrets: dict[str, SecretRef], caller: dict[str, str]) -> dict[str, str]:
    """What the engine sees when this is run by somebody with that environment."""
    made = Export(replace(QWEN, secret_refs=secrets), ("/usr/bin/env", "-0"), env, "vllm")
    return environment(bash(script_text(made), {"PATH": os.environ["PATH"]} | caller))


def test_of_the_caller_only_the_baseline_gets_through() -> None:
    caller = {"HOME": "/home/o'hara", "LD_PRELOAD": "", "RUBBISH": "1", "BASH_FUNC_vllm%%": "() { false; }", "a.b": "c"}
    assert only({"X": "1"}, {}, caller) == {"X": "1", "HOME": "/home/o'hara"}


def test_the_caller_chooses_the_cards_where_nothing_else_does() -> None:
    caller = {"CUDA_VISIBLE_DEVICES": "2"}
    assert only({"X": "1"}, {}, caller) == {"X": "1", "CUDA_VISIBLE_DEVICES": "2"}
    assert only({"CUDA_VISIBLE_DEVICES": "GPU-7"}, {}, caller) == {"CUDA_VISIBLE_DEVICES": "GPU-7"}
    assert only({"CUDA_VISIBLE_DEVICES": ""}, {}, caller) == {"CUDA_VISIBLE_DEVICES": ""}


def test_what_the_files_say_goes_before_what_the_caller_has() -> None:
    assert only({"HOME": "/srv", "TZ": "UTC"}, {}, {"HOME": "/home/a", "TZ": "CET"}) == {"HOME": "/srv", "TZ": "UTC"}


def test_secrets_come_from_where_they_are_and_show_in_no_command_line(tmp_path: Path) -> None:
    key = tmp_path / "it's a key"
    key.write_text("s3cret $HOME\n")
    secrets = {"HF_TOKEN": SecretRef("env", "TEAM_TOKEN"), "VLLM_API_KEY": SecretRef("file", str(key))}
    found = only({"HF_TOKEN": "of the environment file"}, secrets, {"TEAM_TOKEN": "hf_abc"})
    assert found == {"HF_TOKEN": "hf_abc", "VLLM_API_KEY": "s3cret $HOME"}
    argv = ("/bin/cat", "/proc/self/cmdline")
    shown = script_text(Export(replace(QWEN, secret_refs=secrets), argv, {}, "vllm"))
    assert "hf_abc" not in shown
    assert b"hf_abc" not in bash(shown.replace("exec env", "printf '%s\\0' env"), {"TEAM_TOKEN": "hf_abc"} | PATH)


PATH = {"PATH": os.environ["PATH"]}


@pytest.mark.parametrize(
    ("refs", "said"),
    [
        ({"HF_TOKEN": SecretRef("env", "TEAM_TOKEN")}, "export TEAM_TOKEN first"),
        ({"HF_TOKEN": SecretRef("file", "/nowhere/key")}, "/nowhere/key: No such file"),
        ({"HF_TOKEN": SecretRef("file", "/dev/null")}, "its file holds no value"),
    ],
)
def test_without_its_secret_nothing_is_run(refs: dict[str, SecretRef], said: str) -> None:
    text = script_text(Export(replace(QWEN, secret_refs=refs), ("/bin/echo", "it runs"), {}, "vllm"))
    done = subprocess.run(["bash", "-c", text], env=PATH, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode != 0
    assert said in done.stderr
    assert done.stdout == ""
