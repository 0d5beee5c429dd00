"""Which repositories a command line names, at which commits it is started, and what makes those stay."""

import json
from dataclasses import replace
from typing import Any

import pytest
from builders import wanted
from hypothesis import given
from strategies import specs

from orchestrator.engines.repos import code_repos, repos
from orchestrator.engines.vllm import flags
from orchestrator.model import RepoUse, Spec
from orchestrator.pins import carried, pinned, unresolved

SHA, OTHER = "a" * 40, "b" * 40
DRAFT = {"model": "org/draft", "num_speculative_tokens": 3}


def spec(commits: dict[str, str] | None = None, **args: Any) -> Spec:
    return wanted(repo="org/model", args=args, commits=commits or {}).spec


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({}, []),
        ({"tokenizer": "org/tok"}, [("tokenizer", "org/tok", "main", "texts")]),
        ({"tokenizer": "org/tok", "tokenizer_revision": "v1"}, [("tokenizer", "org/tok", "v1", "texts")]),
        ({"tokenizer": "/models/tok"}, []),
        ({"tokenizer": "org/model"}, [("tokenizer", "org/model", "main", "texts")]),
        ({"speculative_config": DRAFT}, [("draft", "org/draft", "main", "weights")]),
        ({"speculative_config": json.dumps(DRAFT)}, [("draft", "org/draft", "main", "weights")]),
        ({"speculative_config": DRAFT | {"revision": SHA}}, [("draft", "org/draft", SHA, "weights")]),
        ({"speculative_config": {"method": "ngram"}}, []),
        ({"speculative_config": "{not json"}, []),
        ({"spec_model": "org/draft"}, [("spec_model", "org/draft", "main", "weights")]),
        ({"hf_config_path": "org/conf"}, [("hf_config_path", "org/conf", "main", "texts")]),
        ({"generation_config": "vllm"}, []),
        ({"lora_modules": "sql=org/lora"}, [("adapter org/lora", "org/lora", "main", "weights")]),
        (
            {"lora_modules": ["sql=org/lora", "x=/data/x", '{"name": "y", "path": "org/other"}']},
            [
                ("adapter org/lora", "org/lora", "main", "weights"),
                ("adapter org/other", "org/other", "main", "weights"),
            ],
        ),
        (
            {"lora_modules": [{"name": "z", "path": "org/third"}]},
            [("adapter org/third", "org/third", "main", "weights")],
        ),
    ],
)
def test_every_flag_that_may_name_a_repository(args: dict[str, Any], expected: list[tuple[str, ...]]) -> None:
    found = [(use.slot, use.repo, use.revision, use.wants) for use in repos(spec(**args))]
    assert found == [("model", "org/model", "main", "weights"), *expected]


def test_a_folder_names_none_and_a_variant_is_no_part_of_the_name() -> None:
    assert repos(wanted(repo=None, path="/models/x").spec) == ()
    (use,) = repos(wanted(repo="org/model-GGUF:Q4_K_M", revision="v2", args={"load_format": "gguf"}).spec)
    assert use == RepoUse("model", "org/model-GGUF", "v2", "weights", "gguf", "Q4_K_M")


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"auto_map": {"AutoConfig": "org/code--conf.C", "AutoModel": "org/code--model.M"}}, ["org/code"]),
        ({"auto_map": {"AutoTokenizer": ["org/code--t.T", None], "AutoModel": "local.M"}}, ["org/code"]),
        ({"auto_map": "nonsense"}, []),
        ({}, []),
        (None, []),
        ([], []),
    ],
)
def test_code_of_other_repositories_is_found_in_the_config(config: Any, names: list[str]) -> None:
    assert [use.repo for use in code_repos(config)] == names


def test_the_engine_is_told_commits() -> None:
    args = {"tokenizer": "org/tok", "speculative_config": DRAFT}
    words = flags(spec({"model": SHA, "tokenizer": OTHER, "draft": SHA}, **args), "serve")
    assert words[words.index("--revision") + 1] == SHA
    assert words[words.index("--tokenizer-revision") + 1] == OTHER
    assert json.loads(words[words.index("--speculative-config") + 1]) == DRAFT | {"revision": SHA}


def test_without_commits_the_engine_is_told_what_the_file_says() -> None:
    words = flags(replace(spec(), model=replace(spec().model, revision="v1")), "serve")
    assert words[words.index("--revision") + 1] == "v1"
    assert "--revision" not in flags(spec(), "serve")


def test_a_commit_is_carried_over_for_the_same_revision_alone() -> None:
    known = spec({"model": SHA, "tokenizer": OTHER}, tokenizer="org/tok")
    assert carried(spec(tokenizer="org/tok"), known) == {"model": SHA, "tokenizer": OTHER}
    assert carried(spec(tokenizer="org/tok", tokenizer_revision="v1"), known) == {"model": SHA}
    assert carried(wanted(repo="org/other").spec, known) == {}
    assert carried(wanted(repo="org/model", revision="v2").spec, known) == {}
    assert carried(wanted(repo="org/model", revision=OTHER).spec, known) == {"model": OTHER}
    assert carried(spec(), None) == {}


@given(specs, specs)
def test_what_is_carried_is_for_what_is_named(one: Spec, known: Spec) -> None:
    slots = {use.slot for use in repos(one)}
    found = carried(one, known)
    assert found.keys() <= slots
    assert set(found.values()) <= set(known.commits.values()) | {use.revision for use in repos(one)}
    full = pinned(replace(wanted(), spec=replace(one, commits={})), dict.fromkeys(slots, SHA))
    assert unresolved(full.spec) == ()
