"""stop, start, restart, delete, status and logs on what is deployed."""

import json
import shutil
import signal

from deploy_kit import Project, alive, ask, ended, environ, request_in_flight, serves
from fakes.sandbox import wait_until


def test_stop_must_let_a_request_in_flight_finish(project: Project) -> None:
    pid = project.up()
    go = project.sandbox.home / "answer"
    client = request_in_flight(project, go)
    stop = project.sandbox.start("stop", "a")
    wait_until(lambda: ask(project.port, "/health")[0] == 0)
    assert alive(pid)
    go.touch()
    assert ended(stop) == 0
    assert ended(client) == 0
    assert client.output.strip() == "200"
    assert not alive(pid)


def test_a_stopped_deployment_must_stay_stopped_and_start_must_bring_back_its_revision(project: Project) -> None:
    project.up(args={"fake_children": 2})
    project.orch("stop", "a")
    assert project.sandbox.living() == {}
    assert project.row()["phase"] == "stopped"
    project.orch("stop", "a")
    project.orch("status", "--check")
    project.orch("status", "a", "--check", code=3)
    assert "stopped on purpose (a)" in project.orch("apply", "--yes").stderr
    assert project.engine() == 0

    project.profile(serve={"max_model_len": 512})  # an edit that was not applied
    project.orch("start", "a")
    assert json.loads(ask(project.port)[1])["data"][0]["max_model_len"] is None
    assert project.record()["revision"]["number"] == 1
    assert project.row()["drift"] == "serve.args.fake_children, serve.max_model_len"


def test_restart_must_change_the_process_and_nothing_else(project: Project) -> None:
    old = project.up()
    project.orch("restart", "a")
    assert project.engine() not in {0, old}
    assert serves(project.port, "a")
    assert project.record()["revision"]["number"] == 1
    assert "Nothing to change" in project.plan()


def test_start_of_what_runs_must_change_nothing(project: Project) -> None:
    pid = project.up()
    project.orch("start", "a")
    assert project.engine() == pid


def test_delete_must_ask_and_forget(project: Project) -> None:
    pid = project.up()
    project.orch("delete", "a", code=64)
    project.orch("delete", code=64)
    assert project.engine() == pid
    project.orch("delete", "--all", "--yes")
    assert project.sandbox.living() == {}
    assert [file.name for file in project.folder().iterdir()] == ["lock"]
    assert project.orch("status", "--output", "json").json["deployments"] == []
    project.orch("stop", "a", code=1)


def test_apply_without_a_terminal_must_want_yes(project: Project) -> None:
    project.profile()
    assert "add --yes" in project.orch("apply", "a", code=64).stderr
    assert project.sandbox.living() == {}


def test_logs_must_be_those_of_the_last_start_and_of_the_one_before(project: Project) -> None:
    project.up(args={"fake_log": ["first words"]})
    project.orch("logs", "a", "--previous", code=1)
    project.up(args={"fake_log": ["second words"]})
    assert "second words" in project.orch("logs", "a").stdout
    assert "first words" in project.orch("logs", "a", "--previous").stdout
    assert "second words" in (project.folder() / "latest.log").read_text()
    assert str((project.folder() / "latest.log").resolve()) == project.record()["attempt"]["log"]


def test_latest_log_must_be_that_of_a_start_that_failed(project: Project) -> None:
    project.profile(args={"fake_exit_code": 1, "fake_log": ["no kernel image"]})
    project.apply(code=1)
    assert "no kernel image" in (project.folder() / "latest.log").read_text()
    assert "no kernel image" in project.orch("logs").stdout


def test_followed_logs_must_show_what_is_added(project: Project) -> None:
    go = project.sandbox.home / "go"
    project.profile(args={"fake_wait_for": str(go)})
    apply = project.sandbox.start("apply", "a", "--yes")
    project.asleep()
    logs = project.sandbox.start("logs", "a", "-f")
    wait_until(lambda: "version 9.9.9" in logs.output)
    go.touch()
    wait_until(lambda: "Application startup complete" in logs.output)
    logs.process.send_signal(signal.SIGINT)
    assert ended(logs) == 130
    assert ended(apply) == 0


def test_json_must_be_one_document_of_version_1(project: Project) -> None:
    project.profile()
    for verb in (["validate"], ["plan", "a"], ["apply", "a", "--dry-run"], ["apply", "a", "--yes"], ["status"]):
        document = project.orch(*verb, "--output", "json").json
        assert document["version"] == 1, verb
    assert document["deployments"][0]["endpoint"] == f"http://127.0.0.1:{project.port}/v1"
    applied = project.orch("apply", "a", "--yes", "--output", "json").json
    assert applied["plan"]["unchanged"] == ["a"]
    project.profile(args={"fake_exit_code": 1})
    failed = project.orch("apply", "a", "--yes", "--output", "json", code=1).json
    assert failed["failed"]["deployment"] == "a"
    assert failed["restored"] == ["a"]


def test_a_conda_environment_must_be_activated(project: Project) -> None:
    from fakes.runtime import make_fake_runtime

    prefix = make_fake_runtime(project.sandbox.home / "conda" / "llm")
    (prefix / "conda-meta").mkdir()
    scripts = prefix / "etc" / "conda" / "activate.d"
    scripts.mkdir(parents=True)
    (scripts / "x.sh").write_text('export FROM_ACTIVATION="$CONDA_PREFIX/x"\n')
    project.sandbox.write("environments/llm.yaml", json.dumps({"name": "llm", "runtime": {"conda": str(prefix)}}))
    project.up(environment="llm")
    variables = environ(project.engine())
    assert variables["FROM_ACTIVATION"] == f"{prefix}/x"
    assert variables["CONDA_PREFIX"] == str(prefix)
    assert variables["PATH"].startswith(f"{prefix}/bin:")


def test_without_a_name_the_only_one_must_be_meant_even_if_its_record_is_lost(project: Project) -> None:
    pid = project.up()
    shutil.rmtree(project.state)
    lost = project.orch("restart", "a", code=1)
    assert "its record was lost; use `orch apply a`" in lost.stderr
    assert alive(pid)
    project.orch("stop")
    assert project.sandbox.living() == {}
