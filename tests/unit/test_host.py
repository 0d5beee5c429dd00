"""Secrets as this host keeps them, and where it looks for weights."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.backends import proc
from orchestrator.errors import HostError
from orchestrator.host import LocalHost
from orchestrator.hub import folder
from orchestrator.model import ModelRef, SecretRef

HIDDEN = "hunter2"
QWEN = ModelRef(repo="Qwen/Qwen3-8B")


def secret(tmp_path: Path, kind: str, value: bytes) -> str:
    (tmp_path / "key").write_bytes(value)
    if kind == "file":
        return LocalHost({}).secret("KEY", SecretRef("file", str(tmp_path / "key")))
    return LocalHost({"V": value.decode("utf-8", "surrogateescape")}).secret("KEY", SecretRef("env", "V"))


@pytest.mark.parametrize("kind", ["env", "file"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b" \t\n"])
def test_what_stands_behind_a_secret_is_no_part_of_it(tmp_path: Path, kind: str, end: bytes) -> None:
    assert secret(tmp_path, kind, HIDDEN.encode() + end) == HIDDEN


@pytest.mark.parametrize("kind", ["env", "file"])
@pytest.mark.parametrize("bad", ["\n", "\r", "\0", "\x1b", "\t", "\x85", "\u2028"])
def test_a_secret_that_fits_in_no_header_is_refused_unseen(tmp_path: Path, kind: str, bad: str) -> None:
    with pytest.raises(HostError, match=r"cannot read the secret KEY: .* holds a line break") as caught:
        secret(tmp_path, kind, f"{HIDDEN}{bad}more".encode())
    assert HIDDEN not in str(caught.value)


@pytest.mark.parametrize("kind", ["env", "file"])
def test_a_secret_that_is_no_text_is_refused_unseen(tmp_path: Path, kind: str) -> None:
    with pytest.raises(HostError, match=r"not UTF-8|not text") as caught:
        secret(tmp_path, kind, HIDDEN.encode() + b"\xff")
    assert HIDDEN not in str(caught.value)


@pytest.mark.parametrize("kind", ["env", "file"])
def test_a_blank_secret_is_none(tmp_path: Path, kind: str) -> None:
    with pytest.raises(HostError, match="holds no value"):
        secret(tmp_path, kind, b" \r\n")


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, "/home/u/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/x", "HF_HOME": "/hf"}, "/hf/hub"),
        ({"HF_HOME": "/hf", "HUGGINGFACE_HUB_CACHE": "/old"}, "/old"),
        ({"HF_HOME": "/hf", "HUGGINGFACE_HUB_CACHE": "/old", "HF_HUB_CACHE": "/new"}, "/new"),
        ({"HF_HOME": "~/hf"}, "/home/u/hf/hub"),
        ({"HF_HUB_CACHE": "$HOME/c/${USER}"}, "/home/u/c/me"),
    ],
)
def test_the_cache_is_where_the_engine_has_it(env: Mapping[str, str], expected: str) -> None:
    assert folder({"HOME": "/home/u", "USER": "me"} | dict(env)) == Path(expected)


def test_weights_in_the_callers_own_cache_do_not_count(tmp_path: Path) -> None:
    repo = tmp_path / "hub" / "models--Qwen--Qwen3-8B"
    for file, text in {"refs/main": "c0ffee", "snapshots/c0ffee/config.json": "{}"}.items():
        (repo / file).parent.mkdir(parents=True)
        (repo / file).write_text(text)
    host = LocalHost({"HF_HOME": str(tmp_path), "HOME": "/nowhere"})
    assert host.weights_cached(QWEN, {"HF_HOME": str(tmp_path)})
    assert host.weights_cached(QWEN, {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HOME": "/nowhere"})
    assert not host.weights_cached(QWEN, {"HOME": "/nowhere"})


@pytest.mark.parametrize("name", ["Qwen/Qwen3..8B", "a--b", "x.git"])
def test_a_name_the_hub_cannot_have_is_not_cached(tmp_path: Path, name: str) -> None:
    assert not LocalHost({}).weights_cached(ModelRef(repo=name), {"HF_HOME": str(tmp_path)})


def test_a_process_that_is_hidden_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with hidepid=1, where its folder is listed and its files are refused."""
    (tmp_path / "42" / "stat").mkdir(parents=True)
    monkeypatch.setattr(proc, "PROC", tmp_path)
    assert proc.read(42) is None
    assert proc.scan() == []
