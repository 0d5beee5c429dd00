"""A command and the flags of its profile are the same to the engine's own parser: every flag that it has, once."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.sandbox import REPOSITORY

from orchestrator.beginnings import engines
from orchestrator.containers import Found
from orchestrator.engines.knowledge import Flag
from orchestrator.engines.vllm import flags
from orchestrator.from_command import take
from orchestrator.load import load_environment, load_profile
from orchestrator.model import Environment, RuntimeSpec
from orchestrator.resolve import resolve
from orchestrator.runtimes.catalogue import Runtimes
from orchestrator.scaffold import Draft, profile_text
from orchestrator.surroundings import Place

pytestmark = pytest.mark.real_more

INSIDE = Path(__file__).resolve().parents[2] / "orchestrator" / "inside"
PARSE = """
import json, sys
from parse_argv import Complaint, build
parser, _, _ = build("serve")
def parse(argv):
    try:
        return {key: repr(value) for key, value in vars(parser.parse_args(argv)).items()}
    except (Complaint, TypeError, ValueError, AssertionError):
        return None
print("\\n" + json.dumps([[parse(words) for words in pair] for pair in json.load(sys.stdin)]))
"""
WORDS = {
    "int": "3",
    "float": "0.50",
    "json": '{"a": null, "b": {"c": [1, 2.5]}}',
    "json_or_str": '{"b": 1}',
    "human_int": "4k",
    "human_int_or_auto": "8K",
}
ELSEWHERE = {"model_tag", "model", "config", "api-key", "hf-token", "download-dir"}
"""These are told otherwise: the model, a file of flags, secrets, a folder of the environment."""


@pytest.fixture
def parse(
    real_runtime: dict[str, str], data_dir: Path
) -> Callable[[list[list[list[str]]]], list[list[dict[str, str] | None]]]:
    cpu = load_environment(REPOSITORY / "environments/cpu.yaml", {})
    runtimes = Runtimes(data_dir, data_dir / "cache", {**os.environ, **real_runtime})
    python = Path(runtimes.ensure(cpu.runtime, lambda _: None).python)
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(INSIDE)}

    def ask(pairs: list[list[list[str]]]) -> list[list[dict[str, str] | None]]:
        done = subprocess.run(
            [str(python), "-c", PARSE],
            input=json.dumps(pairs),
            env=env | {"VLLM_NO_USAGE_STATS": "1", "VLLM_TARGET_DEVICE": "cpu"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        answer: Any = json.loads(done.stdout.strip().rpartition("\n")[2])
        return list(answer)

    return ask


def given(flag: Flag) -> list[list[str]]:
    """The ways in which the flag is put on a command line."""
    option = flag.options[-1]
    if flag.type == "bool":
        return [[option], *([[f"--no-{flag.name}"]] if negated(flag) else [])]
    word = next((str(one) for one in flag.choices if isinstance(one, str)), WORDS.get(flag.type, "a=b c"))
    found = [[option, word], [f"{option}={word}"]]
    if flag.nargs == "+":
        found.append([option, word, word + "1"])
    if flag.repeats:
        found.append([option, word, option, word + "1"])
    if flag.type == "json":
        found.append([f"{option}.l+", "a,b", f"{option}.x.y", "1", f"{option}.x.z=two"])
    return [*found, [f"--{flag.name.replace('-', '_')}={word}"]]


def negated(flag: Flag) -> bool:
    found = engines("0.32.0")[0].find(f"no-{flag.name}")
    return found is not None and found.name == f"no-{flag.name}"


def test_every_flag_must_mean_the_same_to_the_engine(
    tmp_path: Path, parse: Callable[[list[list[list[str]]]], list[list[dict[str, str] | None]]]
) -> None:
    known = engines("0.32.0")
    place = Place(str(tmp_path), lambda path: False, lambda path: None)
    pairs: list[list[list[str]]] = []
    for flag in known[0].flags.values():
        for words in given(flag) if flag.name not in ELSEWHERE and flag.options else []:
            command = ["Org/Model", *words]
            taken = take(Found(tuple(command), "serve"), known, place)
            if taken.left:
                continue
            file = tmp_path / "p.yaml"
            profile = replace(taken.profile, environment="default")
            file.write_text(profile_text(Draft(profile, notes=taken.notes)))
            spec = resolve(load_profile(file, {}), Environment("default", RuntimeSpec("self")), {}).spec
            pairs.append([["serve", *command], ["serve", *flags(spec, "serve", engine=known[0])]])
    answers = parse(pairs)
    compared = 0
    for pair, (before, after) in zip(pairs, answers, strict=True):
        if before is None:
            continue  # the engine refuses the made-up value
        assert after is not None, pair
        defaults = {"served_model_name": "['Org/Model']", "host": "'0.0.0.0'"}
        wanted = {key: defaults.get(key, value) if value == "None" else value for key, value in before.items()}
        assert after == wanted, pair
        compared += 1
    assert compared > 500
