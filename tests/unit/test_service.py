"""The unit that runs the watcher, and how it is told how it stands with it. The texts are in golden/service;
UPDATE_GOLDEN=1 writes them anew."""

import subprocess
from dataclasses import replace
from pathlib import Path

import golden
import pytest
from builders import NOW

from orchestrator.model import Marker
from orchestrator.service_text import Status, status_json, status_text
from orchestrator.unit_file import CARRIED, Unit, carried, instance_unit, unit_name, unit_text

PLAIN = Unit(
    "lab-1234abcd",
    "/home/me/lab",
    "/home/me/.venv/bin/python",
    "/home/me/.config/orch/lab-1234abcd.env",
    {"PATH": "/usr/local/bin:/usr/bin:/bin", "HF_HOME": "/data/hf"},
)
ODD = replace(
    PLAIN,
    root='/home/me/100% "mine" $HOME \\ é',
    python="/opt/my python/bin/python",
    secrets="/home/me/50% off/x.env",
    variables={"A": 'a "b" c\\d %h $HOME', "B": "two\nlines"},
)
UNITS = {"plain": PLAIN, "odd-names": ODD}

RUNS = Status(
    unit="orch-watch-lab-1234abcd.service",
    file="/home/me/.config/systemd/user/orch-watch-lab-1234abcd.service",
    user="me",
    installed=True,
    enabled=True,
    active=True,
    since=NOW - 7300,
    pid=812,
    restarts=1,
    lingers=True,
    log=("14:02:11 qwen4b: starting it again", "14:02:59 qwen4b is ready"),
)
DOWN = replace(RUNS, active=False, since=None, pid=0)
STATUSES = {
    "runs": RUNS,
    "down": DOWN,
    "not-at-boot": replace(RUNS, lingers=False, restarts=3, log=()),
    "not-enabled": replace(RUNS, enabled=False, restarts=0, log=()),
    "nobody-tells": replace(RUNS, lingers=None, log=()),
    "no-manager": replace(DOWN, trouble="no service manager runs for me (/run/user/1000 is not there)", log=()),
    "not-installed": replace(DOWN, installed=False, log=()),
    "no-systemd": replace(DOWN, installed=False, trouble="this machine is not run by systemd", log=()),
}


@pytest.mark.parametrize("name", UNITS)
def test_the_unit(name: str) -> None:
    golden.check("service", f"unit-{name}", unit_text(UNITS[name]).rstrip("\n"))


@pytest.mark.parametrize("name", UNITS)
def test_systemd_itself_finds_nothing_wrong_with_it(name: str, tmp_path: Path, systemd_analyze: str) -> None:
    unit = replace(UNITS[name], python="/bin/true")
    file = tmp_path / unit_name(unit.project)
    file.write_text(unit_text(unit), encoding="utf-8")
    env = {"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [systemd_analyze, "--user", "verify", file], env=env, capture_output=True, text=True, check=False
    )
    assert str(file.name) not in done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", STATUSES)
def test_how_it_stands(name: str) -> None:
    golden.check("service", name, status_text(STATUSES[name], NOW))


def test_as_json_it_holds_all_of_it() -> None:
    found = status_json(RUNS)
    assert (found["version"], found["active"], found["since"], found["lingering"]) == (1, True, NOW - 7300, True)
    assert found["log"] == list(RUNS.log)


def test_every_text_is_used() -> None:
    assert golden.unused("service", {*STATUSES, *(f"unit-{name}" for name in UNITS)}) == set()


def test_the_unit_gets_what_a_start_needs_and_what_the_files_name_and_nothing_else() -> None:
    shell = {"PATH": "/bin", "HF_HOME": "/hf", "LAB": "x", "HF_TOKEN": "hf_secret", "HOME": "/home/me", "EDITOR": "vi"}
    assert carried(shell, {"LAB", "UNSET"}) == ({"HF_HOME": "/hf", "LAB": "x", "PATH": "/bin"}, ())


def test_a_proxy_with_a_password_is_left_out_and_told() -> None:
    shell = {"HTTPS_PROXY": "http://me:secret@proxy:3128", "HTTP_PROXY": "http://proxy:3128/a@b"}
    assert carried(shell, ()) == ({"HTTP_PROXY": "http://proxy:3128/a@b"}, ("HTTPS_PROXY",))
    bare = {"http_proxy": "bob:hunter2@proxy:3128", "ALL_PROXY": "bob@proxy", "https_proxy": "proxy:3128/a@b"}
    assert carried(bare, ()) == ({"https_proxy": "proxy:3128/a@b"}, ("ALL_PROXY", "http_proxy"))
    indexes = {"INDEXES": "https://one/simple https://me:secret@two/simple", "MAIL": "me@host"}
    assert carried(indexes, indexes) == ({"MAIL": "me@host"}, ("INDEXES",))


def test_no_name_that_is_always_carried_is_one_of_a_secret() -> None:
    assert not [name for name in CARRIED if name.endswith(("TOKEN", "KEY", "PASSWORD"))]


def test_names_of_units_fit_into_what_systemd_takes() -> None:
    project = f"{'x' * 250}-1234abcd"
    marker = Marker(project, "n" * 63, "123456789-1234abcd")
    assert len(unit_name(project)) < 256
    assert len(instance_unit(marker)) < 256
    assert unit_name(project).endswith("x-1234abcd.service")
    assert instance_unit(Marker("lab-1234abcd", "qwen4b", "00001-aaaaaaaa")) == (
        "orch-engine-lab-1234abcd-qwen4b-00001-aaaaaaaa.service"
    )
