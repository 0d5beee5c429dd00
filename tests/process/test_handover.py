"""The socket through which a unit is told what to become: the secrets go to this user's processes alone."""

import os
import socket
import threading
from pathlib import Path

import pytest

from orchestrator import proc
from orchestrator.backends import handover
from orchestrator.errors import HostError

SECRET = "sk-this-is-what-nobody-may-see"


class Caller(threading.Thread):
    """Connects as a unit does, and keeps what it is told."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path, self.told = path, b""

    def run(self) -> None:
        with socket.socket(socket.AF_UNIX) as line, line.makefile("rb") as told:
            line.connect(str(self.path))
            self.told = told.read()


def asked(folder: Path) -> tuple[Caller, object]:
    with handover.Handover(folder, "a") as waiting:
        caller = Caller(waiting.path)
        caller.start()
        try:
            answer: object = waiting.give(["vllm"], {"VLLM_API_KEY": SECRET}, folder)
        except HostError as error:
            answer = error
        caller.join(30)
    assert not waiting.path.exists()
    return caller, answer


def test_a_process_of_this_user_must_be_told_and_be_known(tmp_path: Path) -> None:
    caller, row = asked(tmp_path)
    assert SECRET.encode() in caller.told
    assert row == proc.read(os.getpid())


def test_another_users_process_must_be_told_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = os.getuid()
    monkeypatch.setattr(handover.os, "getuid", lambda: mine + 1)
    caller, error = asked(tmp_path)
    assert caller.told == b""
    assert f"another user's process (pid {os.getpid()}, uid {mine}) came in place of its unit" in str(error)
