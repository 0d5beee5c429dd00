"""`orch validate` as a CI runs it."""

import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from fakes.sandbox import Result, Sandbox

OLD_NAME = {"TRANSFORMERS_OFFLINE": "1"}


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    sandbox.profile("a", 18000)
    environment(sandbox)
    return sandbox


def environment(project: Sandbox, name: str = "fake", **keys: object) -> None:
    """Of a version of the engine that orch knows."""
    text = {"name": name, "runtime": {"requirements": ["vllm==0.32.0"]}} | keys
    project.write(f"environments/{name}.yaml", json.dumps(text, indent=2))


def validate(project: Sandbox, *args: str, code: int = 0) -> Result:
    done = project.orch("validate", *args)
    assert (done.code, "Traceback" in done.stderr) == (code, False), done.stderr
    return done


def break_it(project: Sandbox) -> None:
    project.write("profiles/b.yaml", "name: b\nenvironment: fake\nmodel: {path: /m}\nserve:\n  prt: 1\n")


def test_every_form_must_tell_of_the_same_mistake(project: Sandbox) -> None:
    break_it(project)
    place = "profiles/b.yaml:5:3"
    text = f"{place}: cannot use serve.prt: serve has no such key; did you mean serve.port?"
    assert validate(project, code=1).stderr == f"orch: {text}\n"
    assert validate(project, code=1).stdout == ""

    (error,) = validate(project, "--output", "json", code=1).json["errors"]
    assert (error["code"], error["file"], error["line"], error["column"]) == ("unknown-key", "profiles/b.yaml", 5, 3)

    github = validate(project, "--output", "github", code=1).stdout
    assert github == f"::error file=profiles/b.yaml,line=5,col=3,title=unknown-key::{text}\n"

    (run,) = validate(project, "--output", "sarif", code=1).json["runs"]
    (result,) = run["results"]
    assert (result["ruleId"], result["message"]["text"]) == ("unknown-key", text)

    (suite,) = ET.fromstring(validate(project, "--output", "junit", code=1).stdout)
    assert {case.get("name"): [one.text for one in case] for case in suite} == {
        "profiles/a.yaml": [],
        "profiles/b.yaml": [text],
        "environments/fake.yaml": [],
    }


@pytest.mark.parametrize("form", ["json", "github", "sarif", "junit"])
def test_every_form_must_say_that_all_is_well(project: Sandbox, form: str) -> None:
    done = validate(project, "--output", form)
    assert done.stderr == ""
    if form == "json":
        assert done.json["valid"] is True
    elif form == "github":
        assert done.stdout == "2 files are valid: profiles/a.yaml, environments/fake.yaml\n"
    elif form == "sarif":
        assert done.json["runs"][0]["results"] == []
    else:
        assert ET.fromstring(done.stdout).get("failures") == "0"


def test_the_form_must_not_depend_on_where_it_runs(project: Sandbox) -> None:
    break_it(project)
    text = validate(project, code=1)
    project.env["GITHUB_ACTIONS"] = "true"
    assert validate(project, code=1) == text


def test_an_unknown_form_must_be_wrong_usage(project: Sandbox) -> None:
    validate(project, "--output", "xml", code=64)


def test_paths_must_be_those_of_the_repository(project: Sandbox) -> None:
    break_it(project)
    (project.home / ".git").mkdir()
    assert "file=project/profiles/b.yaml," in validate(project, "--output", "github", code=1).stdout
    (run,) = validate(project, "--output", "sarif", code=1).json["runs"]
    location = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert location == {"uri": "project/profiles/b.yaml", "uriBaseId": "%SRCROOT%"}
    project.env["GITHUB_WORKSPACE"] = str(project.project)
    assert "file=profiles/b.yaml," in validate(project, "--output", "github", code=1).stdout


def test_a_file_outside_of_the_repository_must_keep_its_full_path(project: Sandbox) -> None:
    (project.project / ".git").mkdir()
    file = project.write("../elsewhere/c.yaml", "name: c")
    done = validate(project, str(file.resolve()), "--output", "sarif", code=1)
    location = done.json["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert location == {"uri": file.resolve().as_uri()}


def test_strict_must_fail_on_a_warning(project: Sandbox) -> None:
    environment(project, env=OLD_NAME)
    assert ": warning: " in validate(project).stderr
    done = validate(project, "--strict", code=1)
    assert "cannot pass with --strict: env.TRANSFORMERS_OFFLINE is an old name; write HF_HUB_OFFLINE" in done.stderr
    assert done.stdout == ""
    found = validate(project, "--strict", "--output", "json", code=1).json
    assert (found["valid"], found["warnings"], [one["code"] for one in found["errors"]]) == (False, [], ["old-name"])
    assert "::error file=environments/fake.yaml," in validate(project, "--strict", "-o", "github", code=1).stdout


def test_strict_must_pass_what_is_good(project: Sandbox) -> None:
    validate(project, "--strict")


def test_mistakes_of_a_set_must_stand_at_their_file(project: Sandbox) -> None:
    project.profile("b", 18000)
    validate(project)
    (error,) = validate(project, "--together", "--output", "json", code=1).json["errors"]
    assert (error["code"], error["file"]) == ("port-clash", "profiles/b.yaml")
    project.profile("b", 18001, gpus=[0])
    project.profile("a", 18000, gpus=[0])
    (error,) = validate(project, "--together", "--output", "json", code=1).json["errors"]
    assert (error["code"], error["file"]) == ("gpu-clash", "profiles/b.yaml")


def test_a_set_too_large_for_its_host_must_be_refused(project: Sandbox) -> None:
    environment(project, "gpu", host={"gpus": {"count": 1, "memory": "48GiB", "compute_capability": "8.9"}})
    for name, port in (("a", 18000), ("b", 18001)):
        project.profile(name, port, environment="gpu", gpus="auto")
    done = validate(project, "--together", "--output", "json", code=1).json
    assert {one["code"] for one in done["errors"]} == {"does-not-fit"}


def test_a_name_that_two_have_must_be_told_at_the_second(project: Sandbox) -> None:
    project.write("profiles/b.yaml", "name: a\nenvironment: fake\nmodel: {path: /m}\n")
    (error,) = validate(project, "--output", "json", code=1).json["errors"]
    assert (error["code"], error["at"]) == ("same-name", "profiles/b.yaml:1:1")
    assert error["why"] == "profiles/a.yaml:2:3 has it too"


def test_an_environment_that_is_missing_must_be_told_at_each_profile(project: Sandbox) -> None:
    project.profile("b", 18001, environment="other")
    project.profile("c", 18002, environment="other")
    found = validate(project, "--output", "json", code=1).json["errors"]
    assert [(one["code"], one["file"]) for one in found] == [
        ("environment-missing", "profiles/b.yaml"),
        ("environment-missing", "profiles/c.yaml"),
    ]


def test_a_broken_environment_must_be_told_once(project: Sandbox) -> None:
    project.write("environments/fake.yaml", "name: fake\nruntime: {}\n")
    project.profile("b", 18001)
    for paths in ((), ("environments", "profiles")):
        (error,) = validate(project, *paths, "--output", "json", code=1).json["errors"]
        assert (error["code"], error["at"]) == ("exactly-one", "environments/fake.yaml:2:1")


def test_what_stands_for_no_file_must_be_told_in_every_form(project: Sandbox) -> None:
    text = validate(project, "nope", code=1).stderr.removeprefix("orch: ").strip()
    assert text.startswith('cannot find "nope": ')
    (error,) = validate(project, "nope", "--output", "json", code=1).json["errors"]
    assert (error["code"], error["file"], error["line"]) == ("unknown-path", None, None)
    assert validate(project, "nope", "-o", "github", code=1).stdout.startswith(
        "::error title=unknown-path::cannot find"
    )
    assert "locations" not in validate(project, "nope", "-o", "sarif", code=1).json["runs"][0]["results"][0]
    (suite,) = ET.fromstring(validate(project, "nope", "-o", "junit", code=1).stdout)
    assert [failure.text for failure in suite[0]] == [text]


def test_a_set_on_the_command_line_must_be_told_as_it_was_typed(project: Sandbox) -> None:
    (error,) = validate(project, "--set", "serve.port=0", "--output", "json", code=1).json["errors"]
    assert (error["at"], error["file"], error["line"]) == ("--set serve.port=0", "profiles/a.yaml", None)
    (error,) = validate(project, "--set", "serve", "--output", "json", code=1).json["errors"]
    assert error["code"] == "bad-override"


@pytest.mark.parametrize("form", ["text", "json", "github", "sarif", "junit"])
def test_a_file_whose_name_is_no_text_must_be_told_in_every_form(project: Sandbox, form: str) -> None:
    try:
        Path(os.fsdecode(os.fsencode(project.project / "profiles") + b"/b\xff\n.yaml")).write_text("name: [")
    except OSError as error:
        pytest.skip(f"this file system takes no such name: {error}")
    project.env |= {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:strict"}
    done = validate(project, "--output", form, code=1)
    if form in ("json", "sarif"):
        assert done.json
    elif form == "junit":
        assert ET.fromstring(done.stdout).get("failures") == "1"


def test_many_files_must_be_told_of_in_their_order(project: Sandbox) -> None:
    """So many that other processes take some of them."""
    (project.project / "profiles/a.yaml").unlink()
    names = [f"p{index:04}" for index in range(400)]
    for index, name in enumerate(names):
        key = "prt" if index % 7 == 0 else "port"
        text = f"name: {name}\nenvironment: fake\nmodel: {{path: /m}}\nserve: {{{key}: 18000}}\n"
        (project.project / f"profiles/{name}.yaml").write_text(text)
    done = validate(project, "--output", "json", code=1).json
    assert done["files"] == [*(f"profiles/{name}.yaml" for name in names), "environments/fake.yaml"]
    assert [one["file"] for one in done["errors"]] == [f"profiles/{name}.yaml" for name in names[::7]]
    assert done == validate(project, "--output", "json", code=1).json
