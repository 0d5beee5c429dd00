"""A stand-in for GitHub's runner, as far as the shipped action.yml needs one: it evaluates its few expressions, passes
over what it uses of others, and runs each script as GitHub does. `gh` (gh.py) and `pip` are stand-ins too."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

GH = f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("gh.py")} "$@"\n'
PIP = '#!/bin/sh\nprintf "%s\\n" "$@" >>"$GH_FOLDER/pip"\n'


@dataclass(slots=True)
class Runner:
    """``workspace`` is the checkout of those who use the action, ``action`` that of the action itself; ``env`` is what
    the job sets. ``comments`` are those on pull request 7 of org/lab."""

    workspace: Path
    action: Path
    folder: Path
    env: Mapping[str, str]
    comments: list[dict[str, Any]] = field(default_factory=list)

    def run(self, inputs: Mapping[str, str], event: Mapping[str, Any] | None = None) -> "Job":
        self.folder.mkdir(exist_ok=True)
        files = {name: self.folder / name for name in ("output", "summary", "calls", "pip")}
        for file in files.values():
            file.write_text("")
        (self.folder / "comments").write_text(json.dumps(self.comments))
        document = yaml.safe_load((self.action / "action.yml").read_text())
        assert document["runs"]["using"] == "composite"
        assert set(inputs) <= set(document["inputs"]), "an input that the action does not have"
        given = {name: one["default"] for name, one in document["inputs"].items()} | dict(inputs)
        context = {"inputs": given, "github": {"token": "a-token", "event": event or {}}, "steps": {}}
        job = Job(*self._steps(document["runs"]["steps"], context, files))
        self.comments = json.loads((self.folder / "comments").read_text())
        job.summary, job.pip = files["summary"].read_text(), files["pip"].read_text().splitlines()
        job.calls = [json.loads(line) for line in files["calls"].read_text().splitlines()]
        job.outputs = {name: evaluated(one["value"], context) for name, one in document["outputs"].items()}
        return job

    def _steps(
        self, steps: list[dict[str, Any]], context: dict[str, Any], files: Mapping[str, Path]
    ) -> tuple[int, str]:
        """The exit status and what was printed; after a failure nothing more runs."""
        printed = ""
        for step in steps:
            if "uses" in step or not truth(step.get("if", "true"), context):
                continue
            assert step["shell"] == "bash"
            files["output"].write_text("")
            script = self.folder / "step.sh"
            script.write_text(step["run"])
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
                cwd=self.workspace,
                env=self._variables(step, context, files),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            printed += done.stdout + done.stderr
            if done.returncode:
                return done.returncode, printed
            lines = (line.partition("=") for line in files["output"].read_text().splitlines())
            context["steps"][step.get("id")] = {"outputs": {name: value for name, _, value in lines}}
        return 0, printed

    def _variables(self, step: dict[str, Any], context: Mapping[str, Any], files: Mapping[str, Path]) -> dict[str, str]:
        tools = self.folder / "bin"
        tools.mkdir(exist_ok=True)
        for name, text in {"gh": GH, "pip": PIP}.items():
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        return {
            **self.env,
            "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "GH_FOLDER": str(self.folder),
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(self.action),
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_REPOSITORY": "org/lab",
            "GITHUB_OUTPUT": str(files["output"]),
            "GITHUB_STEP_SUMMARY": str(files["summary"]),
            "RUNNER_TEMP": str(self.folder),
        } | {name: evaluated(str(value), context) for name, value in step.get("env", {}).items()}


@dataclass(slots=True)
class Job:
    code: int
    printed: str
    summary: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    calls: list[list[str]] = field(default_factory=list)
    pip: list[str] = field(default_factory=list)


def evaluated(text: str, context: Mapping[str, Any]) -> str:
    """With each ``${{ a.b.c }}`` replaced; what is not there is empty."""
    return re.sub(r"\$\{\{ *([\w.-]+) *\}\}", lambda found: str(looked_up(found[1], context)), text)


def truth(condition: str, context: Mapping[str, Any]) -> bool:
    """Of ``a.b == 'text' && c.d``."""
    return all(_holds(part.strip(), context) for part in condition.split("&&"))


def _holds(part: str, context: Mapping[str, Any]) -> bool:
    if equal := re.fullmatch(r"([\w.-]+) == '([^']*)'", part):
        return str(looked_up(equal[1], context)) == equal[2]
    assert re.fullmatch(r"[\w.-]+", part), f"an expression that this runner does not know: {part}"
    return part == "true" or bool(looked_up(part, context))


def looked_up(path: str, context: Mapping[str, Any]) -> Any:
    found: Any = context
    for name in path.split("."):
        found = found.get(name, "") if isinstance(found, dict) else ""
    return found
