"""Whatever a person gets wrong: a sentence, an exit status of the contract, and no traceback."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from deploy_kit import Project, ended, environ, serves


@pytest.mark.parametrize("verb", [["validate"], ["plan"], ["apply", "--yes"], ["run"]], ids=" ".join)
def test_a_name_that_is_not_there_must_be_guessed(project: Project, verb: list[str]) -> None:
    project.profile("qwen-small")
    done = project.orch(*verb, "qwen-smal", code=1)
    assert "did you mean qwen-small" in done.stderr.replace('"', "")


def test_the_files_own_mistakes_must_be_named_in_place(project: Project) -> None:
    project.sandbox.write("profiles/a.yaml", "name: a\nenvironment: fake\nmodle: {path: /x}\n")
    done = project.orch("plan", "profiles", code=1)
    assert "profiles/a.yaml:3:1" in done.stderr
    assert "did you mean model" in done.stderr.replace('"', "")
    project.sandbox.write("profiles/a.yaml", "name: [\n")
    project.orch("apply", "profiles", "--yes", code=1)
    (project.sandbox.project / "profiles" / "a.yaml").write_bytes(b"\xff\xfe\x00name")
    project.orch("validate", code=1)
    project.orch("status")


@pytest.mark.parametrize("file", ["profiles/a.yaml", "environments/fake.yaml"])
@pytest.mark.parametrize("content", [b"\xff\xfe\x00name", b"name: ["])
def test_status_must_bear_files_that_do_not_load(project: Project, file: str, content: bytes) -> None:
    project.up()
    (project.sandbox.project / file).write_bytes(content)
    assert project.row()["drift"] == "files do not load; see `orch validate`"
    (project.sandbox.project / file).unlink()
    (project.sandbox.project / file).mkdir()
    assert project.row()["drift"] == "files do not load; see `orch validate`"


def test_status_must_say_that_a_profile_is_gone(project: Project) -> None:
    project.up()
    (project.sandbox.project / "profiles" / "a.yaml").unlink()
    assert project.row()["drift"] == "profile gone"
    assert project.row()["phase"] == "ready"


def test_a_project_whose_folder_is_no_text_must_be_served(project: Project) -> None:
    odd = project.sandbox.home / os.fsdecode(b"p\xff")
    project.profile()
    project.sandbox.project.rename(odd)
    project.sandbox.project.mkdir()
    assert ended(project.sandbox.start("apply", "a", "--yes", "--root", str(odd))) == 0
    assert serves(project.port, "a")
    assert ended(project.sandbox.start("plan", "a", "--detailed-exitcode", "--root", str(odd))) == 0


def test_an_old_name_must_be_taken_with_a_warning_once(project: Project, fake_runtime: Path) -> None:
    project.sandbox.environment(fake_runtime, env={"HF_HUB_ENABLE_HF_TRANSFER": "1", "TRANSFORMERS_OFFLINE": "1"})
    project.profile("a")
    project.profile("b", project.free_port())
    warnings = (
        "orch: environments/fake.yaml:7:5: warning: env.HF_HUB_ENABLE_HF_TRANSFER is an old name, which "
        "huggingface_hub ignores since 1.0; use cache.transfer: hf_transfer for what orch downloads, or "
        "HF_XET_HIGH_PERFORMANCE: 1 for what the Hub's own client does\n"
        "orch: environments/fake.yaml:8:5: warning: env.TRANSFORMERS_OFFLINE is an old name; write HF_HUB_OFFLINE\n"
    )
    assert project.orch("plan", "profiles").stderr == warnings
    for verb in (["validate"], ["validate", "environments", "profiles"]):
        told = [line for line in project.orch(*verb).stderr.splitlines(keepends=True) if "note: " not in line]
        assert "".join(told) == warnings
    assert project.orch("apply", "profiles", "--dry-run", "--output", "json").stderr == warnings
    done = project.orch("validate", "--output", "json")
    assert (done.stderr, done.json["valid"], done.json["errors"]) == ("", True, [])
    expected = {
        "at": "environments/fake.yaml:8:5",
        "what": "env.TRANSFORMERS_OFFLINE is an old name",
        "do": "write HF_HUB_OFFLINE",
    }
    assert done.json["warnings"][1].items() >= expected.items()
    assert project.apply().stderr.startswith(warnings)
    assert environ(project.engine("b"))["TRANSFORMERS_OFFLINE"] == "1"
    assert "HF_XET_HIGH_PERFORMANCE" not in environ(project.engine("b"))
    project.profile("a", drain="6s")
    assert project.orch("plan").stderr == warnings
    assert project.orch("status").stderr == ""


def test_a_file_that_cannot_be_read_must_be_named(project: Project) -> None:
    (project.sandbox.project / "profiles" / "a.yaml").mkdir()
    project.orch("plan", "profiles/a.yaml", code=1)
    project.orch("apply", "no/such/file.yaml", "--yes", code=1)
    project.orch("validate", "/proc/self/mem", code=1)


def test_an_environment_that_is_not_there_must_be_named(project: Project) -> None:
    project.profile(environment="fakey")
    assert "fakey" in project.orch("plan", "a", code=1).stderr
    project.sandbox.environment(Path("/no/such/venv"))
    project.profile()
    assert "there is no folder /no/such/venv" in project.apply(code=1).stderr


def test_a_runtime_that_vanished_must_stop_nothing(project: Project, fake_runtime: Path) -> None:
    pid = project.up()
    project.sandbox.environment(Path("/no/such/venv"))
    assert "there is no folder /no/such/venv" in project.apply(code=1).stderr
    assert project.engine() == pid


def test_a_model_that_is_not_there_must_stop_nothing(project: Project) -> None:
    pid = project.up()
    project.profile(model={"path": "/no/such/model"})
    assert "/no/such/model does not exist" in project.apply(code=1).stderr
    empty = project.sandbox.home / "empty"
    empty.mkdir()
    project.profile(model={"path": str(empty)})
    done = project.apply(code=1)
    assert "holds no config.json" in done.stderr
    assert "profiles/a.yaml:" in done.stderr
    assert project.engine() == pid


@pytest.mark.parametrize("place", ["/proc/orch", "FILE/orch", "FILE"])
def test_a_state_folder_that_cannot_be_written_must_be_named(project: Project, place: str) -> None:
    file = project.sandbox.home / "file"
    file.touch()
    folder = place.replace("FILE", str(file))
    project.profile()
    done = project.orch("apply", "a", "--yes", "--state-dir", folder, code=1)
    assert folder in done.stderr
    assert "--state-dir" in done.stderr
    assert project.sandbox.living() == {}
    project.orch("status", "--state-dir", folder, code=1 if "FILE" in place else 0)  # no state is not a broken one
    project.orch("stop", "a", "--state-dir", folder, code=1)


@pytest.fixture
def full_disk(project: Project) -> Iterator[Path]:
    """A folder on a disk without room for a single file."""
    folder = project.sandbox.home / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k,nr_inodes=64", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small tmpfs is not possible here")
    with contextlib.suppress(OSError):
        (folder / "filler").write_bytes(b"x" * 8192)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_must_stop_nothing(project: Project, full_disk: Path) -> None:
    project.profile()
    done = project.orch("apply", "a", "--yes", "--state-dir", str(full_disk), code=1)
    assert "No space left on device" in done.stderr
    assert "free some space" in done.stderr
    assert project.sandbox.living() == {}


@pytest.mark.parametrize("text", ["", "{", '{"schema": 1, "record": {"name": 3}}', "[]", "\0"])
def test_a_damaged_record_must_be_set_aside_and_cost_no_restart(project: Project, text: str) -> None:
    pid = project.up()
    file = project.folder() / "record.json"
    file.write_text(text)
    assert project.row()["pid"] == pid
    done = project.apply()
    assert "warning: the record of a cannot be read" in done.stderr
    assert file.with_suffix(".damaged").read_text() == text
    assert project.engine() == pid
    assert project.record()["attempt"]["pid"] == pid


def test_usage_that_cannot_work_must_end_with_64(project: Project) -> None:
    project.profile()
    project.orch("aply", code=64)
    project.orch("apply", "--no-such-option", code=64)
    project.orch("apply", "a", "--yes", "--timeout", "soon", code=64)
    project.orch("plan", "a", "--set", "serve.port", code=1)
    project.orch("plan", "a", "--set", "serve.port=high", code=1)
    assert project.sandbox.living() == {}


def test_a_broken_cache_of_runtimes_must_cost_time_only(project: Project) -> None:
    cache = project.sandbox.home / "not-a-folder"
    cache.touch()
    project.env["ORCH_CACHE_DIR"] = str(cache)
    project.up()
    assert serves(project.port, "a")


def test_an_unknown_deployment_must_be_guessed(project: Project) -> None:
    project.up("alpha")
    for verb in ("stop", "start", "restart", "logs", "status"):
        assert "did you mean alpha" in project.orch(verb, "alpah", code=1).stderr
    assert "in use" not in project.orch("status", "alpha").stdout


def test_an_entry_that_cannot_be_read_must_not_be_passed_over(project: Project) -> None:
    project.profile()
    broken = project.sandbox.project / "profiles" / "broken.yaml"
    broken.symlink_to("/nowhere")
    (project.sandbox.project / "profiles" / "folder.yaml").mkdir()
    said = project.orch("validate", code=1).stderr
    assert "broken.yaml: cannot read: it is a link to /nowhere, which is not there" in said
    assert "folder.yaml: cannot read: it is a folder" in said


def test_a_state_that_cannot_be_read_must_not_look_like_nothing(project: Project) -> None:
    file = project.sandbox.home / "file"
    file.touch()
    for verb in (["status"], ["plan", "profiles"]):
        project.profile()
        assert "cannot read orch's state" in project.orch(*verb, "--state-dir", str(file), code=1).stderr


def test_a_folder_of_environments_must_be_checked_as_such(project: Project) -> None:
    assert "1 file is valid: environments/fake.yaml" in project.orch("validate", "environments").stdout


def test_without_a_path_what_is_stopped_lost_or_without_a_profile_must_be_named(project: Project) -> None:
    pid = project.up()
    shutil.rmtree(project.state)
    assert "its record was lost" in project.orch("plan").stdout
    project.orch("apply", "--yes")
    assert project.engine() == pid
    file = project.sandbox.project / "profiles" / "a.yaml"
    text = file.read_text()
    file.unlink()
    assert "is gone; restore it, or `orch delete a`" in project.orch("plan", code=1).stderr
    file.write_text(text)
    project.orch("stop")
    assert "stopped on purpose (a); `orch start NAME`" in project.orch("plan").stderr
