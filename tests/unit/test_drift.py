"""Drift names what differs, all of it and nothing else."""

from dataclasses import replace
from typing import Any

import pytest
from builders import VENV, wanted
from hypothesis import given
from strategies import specs

from orchestrator.codec import digest
from orchestrator.drift import diff
from orchestrator.model import Spec
from orchestrator.plan import FieldDiff

BASE = wanted(args={"max_num_seqs": 4}, env={"A": "1"}, secrets={"HF_TOKEN": "k1:aa"}).spec


@given(specs)
def test_nothing_differs_from_itself(spec: Spec) -> None:
    assert diff(spec, spec) == ()


@given(specs, specs)
def test_both_ways_name_the_same_fields_in_order(one: Spec, other: Spec) -> None:
    there, back = diff(one, other), diff(other, one)
    assert [(each.field, each.before, each.after) for each in there] == [
        (each.field, each.after, each.before) for each in back
    ]
    fields = [each.field for each in there]
    assert fields == sorted(set(fields))


@given(specs, specs)
def test_specs_with_one_digest_differ_in_secrets_at_most(one: Spec, other: Spec) -> None:
    if digest(one) == digest(other):
        assert all(each.field.startswith("secrets.") for each in diff(one, other))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (replace(BASE, drain=5.0), [("drain", None, 5.0)]),
        (replace(BASE, gpus=("0", "1")), [("gpus", None, ["0", "1"])]),
        (replace(BASE, env={"A": "2"}), [("env.A", "1", "2")]),
        (replace(BASE, env={}), [("env.A", "1", None)]),
        (replace(BASE, env={"A": "1", "B": ""}), [("env.B", None, "")]),
        (replace(BASE, model=replace(BASE.model, revision="main")), [("model.revision", None, "main")]),
        (replace(BASE, serve=replace(BASE.serve, port=8001)), [("serve.port", None, 8001)]),
        (replace(BASE, serve=replace(BASE.serve, names=("a",))), [("serve.names", None, ["a"])]),
        (replace(BASE, serve=replace(BASE.serve, args={"max_num_seqs": 8})), [("serve.args.max_num_seqs", 4, 8)]),
        (replace(BASE, runtime=replace(VENV, where="/v2")), [("runtime.where", "/opt/vllm", "/v2")]),
        (replace(BASE, hf_home="/data/hf"), [("hf_home", None, "/data/hf")]),
        (replace(BASE, cuda_home="/cuda"), [("cuda_home", None, "/cuda")]),
        (replace(BASE, secrets={"HF_TOKEN": "k1:bb"}), [("secrets.HF_TOKEN", "k1:aa", "k1:bb")]),
        (replace(BASE, secrets={}), [("secrets.HF_TOKEN", "k1:aa", None)]),
        (replace(BASE, secrets={"HF_TOKEN": "k2:bb"}), []),
    ],
)
def test_one_edit_is_one_field(changed: Spec, expected: list[tuple[str, Any, Any]]) -> None:
    assert diff(BASE, changed) == tuple(FieldDiff(*one) for one in expected)


@pytest.mark.parametrize(("before", "after"), [(True, 1), (False, 0), (1, 1.0), ("1", 1), ([1], [True])])
def test_values_that_python_calls_equal_make_another_command_line(before: Any, after: Any) -> None:
    one, other = wanted(args={"flag": before}).spec, wanted(args={"flag": after}).spec
    assert [each.field for each in diff(one, other)] == ["serve.args.flag"]


def test_a_flag_set_to_null_is_a_flag_not_given() -> None:
    assert diff(wanted(args={"flag": None}).spec, wanted().spec) == ()


def test_another_model_has_another_commit_without_saying() -> None:
    before = wanted(commits={"model": "a" * 40}).spec
    after = wanted(repo="org/other", commits={"model": "b" * 40}).spec
    assert [one.field for one in diff(before, after)] == ["model.repo"]
    assert [one.field for one in diff(before, replace(before, commits={"model": "b" * 40}))] == ["commits.model"]
    assert diff(before, replace(before, commits={})) == ()
