"""What other people's CI is given: the GitHub Action, run by a stand-in runner; the hook of pre-commit; GitLab's jobs.
And that no page tells of an option that is not there."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakes.run_action import Runner
from fakes.sandbox import REPOSITORY, Sandbox

PULL = {"pull_request": {"number": 7, "head": {"sha": "0123abcd"}}}
GPUS = {"model": "RTX 6000 Ada Generation", "count": 2, "memory": "49140MiB"}
PLANNED = {"plan": "true", "host": "fake"}


@pytest.fixture
def runner(sandbox: Sandbox, fake_runtime: Path) -> Runner:
    """A repository with one good profile, whose environment declares a host with two cards."""
    sandbox.environment(fake_runtime, host={"gpus": GPUS}, secrets={"HF_TOKEN": {"env": "NOT_SET_IN_CI"}})
    good(sandbox)
    return Runner(sandbox.project, REPOSITORY, sandbox.home / "runner", sandbox.env)


def good(sandbox: Sandbox, **keys: Any) -> None:
    sandbox.profile("chat", 8000, model={"repo": "org/model"}, gpus=1, **keys)


def broken(sandbox: Sandbox) -> None:
    file = sandbox.project / "profiles" / "chat.yaml"
    file.write_text(file.read_text().replace('"serve"', '"serves"'))


def test_good_files_must_pass_and_need_neither_secret_nor_token(runner: Runner) -> None:
    job = runner.run({})
    assert job.code == 0, job.printed
    assert job.pip[-1] == str(REPOSITORY)
    assert "::error" not in job.printed
    assert "2 files are valid" in job.printed
    assert job.calls == []
    assert job.summary == ""


def test_broken_files_must_fail_with_an_annotation_and_no_plan(runner: Runner, sandbox: Sandbox) -> None:
    broken(sandbox)
    job = runner.run(PLANNED, PULL)
    assert job.code == 1
    line = next(line for line in job.printed.splitlines() if line.startswith("::error"))
    assert re.match("::error file=profiles/chat.yaml,line=[0-9]+,col=[0-9]+,title=", line)
    assert runner.comments == []


def test_strict_must_take_warnings_for_errors(runner: Runner, sandbox: Sandbox, fake_runtime: Path) -> None:
    sandbox.environment(fake_runtime, host={"gpus": GPUS}, env={"HUGGINGFACE_HUB_CACHE": "/data/hf"})
    relaxed, strict = runner.run({}), runner.run({"strict": "true"})
    assert "::warning file=" in relaxed.printed
    assert (relaxed.code, strict.code) == (0, 1)
    assert "::error file=" in strict.printed


def test_an_engine_must_be_the_one_that_is_checked_against(runner: Runner, sandbox: Sandbox) -> None:
    good(sandbox, args={"attention_backend": "FLASH_ATTN"})
    old, new = runner.run({"engine": "vllm==0.10.0"}), runner.run({"engine": "vllm==0.33.0"})
    assert (old.code, new.code) == (1, 0), new.printed
    assert re.search("::error file=profiles/chat.yaml,.*attention_backend: vllm 0.10.0 has no flag", old.printed)


def test_paths_must_be_taken_a_line_each(runner: Runner, sandbox: Sandbox) -> None:
    sandbox.profile("b", 8001).rename(sandbox.project / "profiles" / "b b.yaml")
    assert "2 files are valid" in runner.run({"paths": "profiles/b b.yaml\n\n"}).printed
    both = runner.run({"paths": "profiles\nenvironments\n", **PLANNED})
    assert both.code == 0, both.printed
    assert "**2 to start" in both.summary


def test_the_plan_must_be_a_comment_that_the_next_run_updates(runner: Runner, sandbox: Sandbox) -> None:
    first = runner.run(PLANNED, PULL)
    assert first.code == 0, first.printed
    (comment,) = runner.comments
    body = comment["body"]
    assert body.startswith("<!-- orch plan -->\n<!-- for ")
    assert "### Plan of `project` for the host of `fake`, as if nothing ran there" in body
    assert "org/model on port 8000 and GPU 0" in body
    assert "<sub>of commit 0123abcd</sub>" in body
    assert first.summary.startswith("<!-- orch plan -->\n\n###")
    assert Path(first.outputs["plan"]).read_text() == first.summary
    assert {call[-1] for call in first.calls} == {"a-token"}

    good(sandbox, serve={"port": 9000})
    second = runner.run(PLANNED, PULL)
    assert second.code == 0, second.printed
    (again,) = runner.comments
    assert again["id"] == comment["id"]
    assert "on port 9000" in again["body"]


def test_only_a_comment_of_its_own_may_be_changed(runner: Runner) -> None:
    runner.run(PLANNED, PULL)
    (mine,) = runner.comments
    person = {"id": 1, "user": {"type": "User"}, "body": mine["body"]}
    quoted = {"id": 2, "user": {"type": "Bot"}, "body": f"> {mine['body']}"}
    runner.comments = [person, quoted]
    runner.run(PLANNED, PULL)
    assert runner.comments[:2] == [person, quoted]
    assert len(runner.comments) == 3
    runner.run({**PLANNED, "paths": "profiles/chat.yaml"}, PULL)
    assert len(runner.comments) == 4


def test_a_plan_that_cannot_be_had_must_fail_and_say_so_in_the_comment(runner: Runner, sandbox: Sandbox) -> None:
    runner.run(PLANNED, PULL)
    for name in "xyz":
        file = sandbox.profile(name, 8000, model={"repo": "org/model"}, gpus=1)
        file.rename(file.with_name(f"<b> `{name}` @all.yaml"))
    job = runner.run(PLANNED, PULL)
    assert job.code == 1
    (comment,) = runner.comments
    _, text = comment["body"].split("### No plan can be made\n\n")
    lines = text.split("\n\n<sub>")[0].splitlines()
    assert any("@all.yaml:" in line and "port 8000 is wanted by" in line for line in lines)
    assert all(line.startswith("    ") for line in lines)
    assert "org/model on port" not in comment["body"]


@pytest.mark.parametrize("event", [{}, PULL], ids=["push", "pull-request"])
def test_without_a_pull_request_or_a_wish_nothing_must_be_posted(runner: Runner, event: dict[str, Any]) -> None:
    job = runner.run(PLANNED | ({"comment": "false"} if event else {}), event)
    assert job.code == 0, job.printed
    assert "### Plan of `project`" in job.summary
    assert job.calls == []


@pytest.mark.parametrize("refused", ["POST", "--paginate"])
def test_a_token_that_may_not_write_must_not_fail_the_job(runner: Runner, refused: str) -> None:
    runner.env = {**runner.env, "GH_REFUSES": refused}
    job = runner.run(PLANNED, PULL)
    assert job.code == 0
    assert "::warning title=orch::cannot post the plan" in job.printed
    assert "### Plan of" in job.summary


def test_a_plan_for_no_host_must_be_refused(runner: Runner) -> None:
    job = runner.run({"plan": "true"}, PULL)
    assert job.code == 1
    assert "cannot plan: no host is named" in job.printed


def test_an_input_must_never_be_run(runner: Runner) -> None:
    nasty = '$(touch pwned)"; touch pwned; "`touch pwned`'
    for inputs in ({"paths": nasty}, {**PLANNED, "host": nasty}, {**PLANNED, "host": "--out=pwned"}):
        assert runner.run(inputs, PULL).code != 0
    assert not (runner.workspace / "pwned").exists()
    text = (REPOSITORY / "action.yml").read_text()
    scripts = [step["run"] for step in yaml.safe_load(text)["runs"]["steps"] if "run" in step]
    assert not [script for script in scripts if "${{" in script]


# --------------------------------------------------------------------------------------------------- pre-commit, GitLab


def test_the_hook_must_take_the_files_that_it_asks_for(sandbox: Sandbox) -> None:
    (hook,) = yaml.safe_load((REPOSITORY / ".pre-commit-hooks.yaml").read_text())
    assert (hook["id"], hook["language"]) == ("orch-validate", "python")
    good(sandbox)
    files = [str(path.relative_to(sandbox.project)) for path in sandbox.project.rglob("*.yaml")]
    chosen = [file for file in [*files, "README.md", "other/x.yaml"] if re.search(hook["files"], file)]
    assert sorted(chosen) == ["environments/fake.yaml", "profiles/chat.yaml"]
    program, *args = shlex.split(hook["entry"])
    assert program == "orch"
    assert sandbox.orch(*args, *chosen).code == 0
    broken(sandbox)
    assert sandbox.orch(*args, *chosen).code == 1


PAGES = ["docs/ci.md", "docs/gitlab-ci.example.yml", "action.yml", ".pre-commit-hooks.yaml"]


def test_every_option_that_is_told_of_must_be_there(sandbox: Sandbox) -> None:
    text = "\n".join((REPOSITORY / page).read_text() for page in PAGES)
    told = {(verb, option) for verb, rest in re.findall(r"\borch ([a-z]+)([^\n`|;&]*)", text)
            for option in re.findall(r"(?<!\S)--[a-z][a-z-]+", rest)}  # fmt: skip
    assert ("plan", "--host") in told
    help_of = {verb: sandbox.orch(verb, "--help").stdout for verb, _ in told}
    assert [one for one in sorted(told) if one[1] not in help_of[one[0]]] == []


def test_gitlabs_job_must_do_what_it_says(runner: Runner, sandbox: Sandbox) -> None:
    document = yaml.safe_load((REPOSITORY / "docs" / "gitlab-ci.example.yml").read_text())
    for job in ("orch:validate", "orch:plan"):
        for line in document[job]["script"]:
            program, *args = shlex.split(line.partition(" > ")[0])
            assert program == "orch"
            args = ["fake" if word == "$ORCH_HOST" else word for word in args]
            done = sandbox.orch(*args)
            assert done.code == 0, done.stderr
            if " > " in line:
                sandbox.write(line.partition(" > ")[2], done.stdout)
        for made in document[job]["artifacts"].get("paths", []):
            assert (sandbox.project / made).is_file()
        for report in document[job]["artifacts"].get("reports", {}).values():
            assert (sandbox.project / report).is_file()
