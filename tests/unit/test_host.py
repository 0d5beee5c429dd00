"""Secrets as this host keeps them, and processes that hide."""

from pathlib import Path

import pytest

from orchestrator import proc
from orchestrator.errors import HostError
from orchestrator.host import LocalHost
from orchestrator.model import SecretRef

HIDDEN = "hunter2"


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


def test_a_process_that_is_hidden_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with hidepid=1, where its folder is listed and its files are refused."""
    (tmp_path / "42" / "stat").mkdir(parents=True)
    monkeypatch.setattr(proc, "PROC", tmp_path)
    assert proc.read(42) is None
    assert proc.scan() == []
