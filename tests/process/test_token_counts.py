"""Tokens counted in the engine's own Python, with a stand-in for transformers: a token a word."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import RuntimeFailure
from orchestrator.fit.inputs import Count, Counts, read_inputs
from orchestrator.model import RuntimeInfo, RuntimeSpec, RuntimeState
from orchestrator.runtimes.tokens import count

TRANSFORMERS = """
import importlib.util, json, pathlib

class Tokenizer:
    def __init__(self, folder):
        self.folder, self.chat_template = pathlib.Path(folder), None
        told = json.loads((self.folder / "tokenizer.json").read_text())
        self.chat_template = told.get("template")

    def __call__(self, text, add_special_tokens):
        return {"input_ids": ["<s>"] * add_special_tokens + text.split()}

    def apply_chat_template(self, messages, tools, chat_template, add_generation_prompt, tokenize, **kwargs):
        if not all(one["role"] in ("system", "user", "assistant") for one in messages):
            raise ValueError("Only user and assistant roles are supported!")
        assert add_generation_prompt and not tokenize
        begin = ["tool"] * len(tools or ()) + [name for name in kwargs]
        return " ".join([*begin, *(f"{chat_template} {one['content']} end" for one in messages), "assistant"])

class AutoTokenizer:
    @staticmethod
    def from_pretrained(folder, trust_remote_code):
        if importlib.util.find_spec("torch") and not trust_remote_code:
            raise RuntimeError("torch would be imported")
        if (pathlib.Path(folder) / "own_code").exists() and not trust_remote_code:
            raise ValueError("Please pass the argument `trust_remote_code=True`")
        return Tokenizer(folder)
"""


@pytest.fixture
def counted(tmp_path: Path) -> Callable[..., Counts]:
    """``counted(b"a text", b"another", template="user")`` in a runtime that has torch, too."""
    library, folder = tmp_path / "library", tmp_path / "model"
    for name, text in (("transformers", TRANSFORMERS), ("torch", "")):
        (library / name).mkdir(parents=True)
        (library / name / "__init__.py").write_text(text)
    folder.mkdir()
    info = RuntimeInfo("k", "p", sys.executable, "vllm", "0.32.0", (), "module", env={"PYTHONPATH": str(library)})

    def counted(*data: bytes, template: str | None = None, own_code: bool = False, trust: bool = False) -> Counts:
        (folder / "tokenizer.json").write_text(json.dumps({"template": template}))
        if own_code:
            (folder / "own_code").touch()
        inputs = [one for index, text in enumerate(data) for one in read_inputs(f"f{index}", text)]
        state = RuntimeState("ready", info=info)
        return count(RuntimeSpec("self"), state, folder, inputs, os.environ, trust_remote_code=trust)

    return counted


def test_the_template_must_be_counted_with_the_text(counted: Callable[..., Counts]) -> None:
    found = counted(b"why is the sky blue", template="user")
    assert found == Counts((Count(5 + 3, 5),), Count(5 + 3, 5), True)


def test_several_must_be_counted_each_and_as_one_conversation(counted: Callable[..., Counts]) -> None:
    request = b'{"messages": [{"role": "user", "content": "one two"}], "tools": [{}], "chat_template_kwargs": {"x": 1}}'
    found = counted(b"a b", b"c", request, template="user")
    assert found.each == (Count(5, 2), Count(4, 1), Count(7, 2))
    # The two texts are one message; the tool and the setting stand once.
    assert found.together == Count(2 + (2 + 3) + (2 + 2) + 1, 5)


def test_without_a_template_a_text_must_be_a_prompt(counted: Callable[..., Counts]) -> None:
    assert counted(b"a b c") == Counts((Count(4, 3),), Count(4, 3), False)


def test_what_a_template_refuses_must_not_hide_the_others(counted: Callable[..., Counts]) -> None:
    found = counted(b'[{"role": "oracle", "content": "a"}]', b"a", template="user")
    assert found.each == (Count(why="Only user and assistant roles are supported!"), Count(4, 1))
    assert found.together.why


def test_a_tokenizer_of_its_own_code_must_be_allowed_first(counted: Callable[..., Counts]) -> None:
    with pytest.raises(RuntimeFailure, match=r"serve\.args: \{trust_remote_code: true\} allows it"):
        counted(b"a", own_code=True)
    assert counted(b"a", own_code=True, trust=True).each == (Count(2, 1),)


def test_what_is_missing_must_be_named(tmp_path: Path) -> None:
    inputs = read_inputs("f", b"a")
    python = RuntimeInfo("k", "p", sys.executable, "vllm", "0.32.0", (), "module", env={"PYTHONPATH": str(tmp_path)})
    ready = RuntimeState("ready", info=python)
    with pytest.raises(RuntimeFailure, match=r"it takes the runtime .* which is not there; build it by `orch apply`"):
        count(RuntimeSpec("self"), RuntimeState("buildable"), tmp_path, inputs, os.environ)
    with pytest.raises(RuntimeFailure, match=f"there is no tokenizer in {tmp_path}; fetch the model's files"):
        count(RuntimeSpec("self"), ready, tmp_path, inputs, os.environ)
    (tmp_path / "tokenizer.json").touch()
    with pytest.raises(RuntimeFailure, match="does not load: No module named 'transformers'"):
        count(RuntimeSpec("self"), ready, tmp_path, inputs, os.environ)
