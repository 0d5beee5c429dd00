"""What is told of the user's service manager, whatever there is."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import user_manager
from orchestrator.user_manager import UserManager

Make = Callable[..., UserManager]


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Each command that is given prints its text, or fails with it when it begins with "!"."""
    monkeypatch.setattr(user_manager, "BOOTED", tmp_path)
    (tmp_path / "run").mkdir()

    def make(**commands: str) -> UserManager:
        for name, text in ({"systemctl": "", "systemd-run": "", "journalctl": ""} | commands).items():
            script = tmp_path / name
            ending = ">&2; exit 1" if text.startswith("!") else ""
            script.write_text(f"#!/bin/sh\necho '{text.lstrip('!')}' {ending}\n")
            script.chmod(0o755)
        return UserManager({"PATH": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")})

    return make


def test_one_that_answers_is_no_trouble(manager: Make) -> None:
    assert manager(systemctl="252.38-1~deb12u1").trouble == ""


@pytest.mark.parametrize("version", ["239 (239-82.el8)", "242-7"])
def test_one_that_is_too_old_is_told(manager: Make, version: str) -> None:
    assert manager(systemctl=version).trouble == f"systemd {version} is too old, 243 is needed"


def test_one_that_does_not_answer_says_why(manager: Make) -> None:
    told = manager(systemctl="!Failed to connect to bus").trouble
    assert told.endswith("does not answer: exit status 1: Failed to connect to bus")


def test_a_machine_without_systemd_is_no_fault_of_the_users(manager: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_manager, "BOOTED", Path("/nowhere"))
    assert manager().absence == "this machine is not run by systemd"


def test_a_command_that_is_not_there_is_named(manager: Make, tmp_path: Path) -> None:
    found = manager()
    (tmp_path / "journalctl").unlink()
    assert found.trouble == "journalctl is not on PATH"


def test_a_folder_of_another_user_is_not_taken(tmp_path: Path) -> None:
    own = f"/run/user/{os.getuid()}"
    assert str(UserManager({"XDG_RUNTIME_DIR": str(tmp_path)}).runtime_dir) == str(tmp_path)
    assert str(UserManager({"XDG_RUNTIME_DIR": str(tmp_path / "gone")}).runtime_dir) == own
    assert str(UserManager({}).runtime_dir) == own


@pytest.mark.parametrize(
    ("text", "lingers"),
    [
        ("yes", True),
        ("no", False),
        ("!Failed to look up user x: User ID 7 is not logged in or lingering", False),
        ("!Failed to connect to bus", None),
    ],
)
def test_whether_it_runs_from_boot_on(manager: Make, text: str, lingers: bool | None) -> None:
    assert manager(loginctl=text).lingers is lingers


def test_what_it_knows_of_a_unit(manager: Make) -> None:
    found = manager(systemctl="LoadState=loaded\nExecStart={ path=/a ; argv[]=a=b }").show("a.service", "LoadState")
    assert found == {"LoadState": "loaded", "ExecStart": "{ path=/a ; argv[]=a=b }"}
    assert manager(systemctl="!no").show("a.service", "LoadState") == {}


def test_a_journal_that_is_kept_in_memory_may_be_hidden(manager: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_manager, "PERSISTENT", Path("/nowhere"))
    assert manager(journalctl="!No journal files were opened due to insufficient permissions.").hides_journal
    assert not manager(journalctl="").hides_journal
