"""What an editor is told of the files: their schemas, in the shipped files and for a project."""

import json
import re
from pathlib import Path

import pytest
from fakes.sandbox import REPOSITORY, Sandbox

SHIPPED = [*REPOSITORY.glob("profiles/*.yaml"), *REPOSITORY.glob("environments/*.yaml")]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_file_must_name_its_schema(file: Path) -> None:
    first = file.read_text().splitlines()[0]
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert found, first
    schema = (file.parent / found[1]).resolve()
    assert schema.name == f"{file.parent.name.rstrip('s')}.schema.json"
    assert "properties" in json.loads(schema.read_text())


def test_vscode_must_be_told_of_both_schemas(sandbox: Sandbox) -> None:
    folder = sandbox.project / ".vscode"
    assert sandbox.orch("schema", "--vscode").code == 0
    told = json.loads((folder / "settings.json").read_text())["yaml.schemas"]
    assert sorted(told.values()) == [[f"{kind}s/*.yaml", f"{kind}s/*.yml"] for kind in ("environment", "profile")]
    for schema, (pattern, _) in told.items():
        kind = pattern.partition("s/")[0]
        assert (sandbox.project / schema).read_text() == sandbox.orch("schema", kind).stdout
    assert "has it already" in sandbox.orch("schema", "--vscode").stdout


def test_settings_that_are_there_must_be_left_alone_and_the_entries_printed(sandbox: Sandbox) -> None:
    text = '{\n  // mine\n  "editor.rulers": [120],\n}\n'
    file = sandbox.write(".vscode/settings.json", text)
    done = sandbox.orch("schema", "--vscode")
    assert (done.code, file.read_text()) == (0, text)
    assert ".vscode/settings.json is yours and was not changed" in done.stderr
    file.write_text(json.dumps({"editor.rulers": [120]} | done.json))
    assert "has it already" in sandbox.orch("schema", "--vscode").stdout


def test_the_projects_own_schemas_must_come_first(sandbox: Sandbox) -> None:
    sandbox.write("schemas/profile.schema.json", "{}")
    sandbox.orch("schema", "--vscode")
    told = json.loads((sandbox.project / ".vscode" / "settings.json").read_text())["yaml.schemas"]
    assert sorted(told) == ["./.vscode/environment.schema.json", "./schemas/profile.schema.json"]
    assert not (sandbox.project / ".vscode" / "profile.schema.json").exists()


@pytest.mark.parametrize("args", [[], ["profile", "--vscode"]], ids=["neither", "both"])
def test_a_kind_or_vscode_must_be_chosen(sandbox: Sandbox, args: list[str]) -> None:
    done = sandbox.orch("schema", *args)
    assert done.code == 64
    assert "it takes either a kind or --vscode" in done.stderr
