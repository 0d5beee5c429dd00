"""What is not shown of a log."""

import pytest

from orchestrator.diagnosis.mask import mask


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("non-default args: {'api_key': ['sk-very-secret']}", "non-default args: {'api_key': ['***']}"),
        ("vllm serve M --api-key s3cret --port 1", "vllm serve M --api-key *** --port 1"),
        ("token hf_abcdefghijkl is not valid", "token hf_*** is not valid"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("the value hunter22 stands here", "the value *** stands here"),
        ("--task and a risk-free sk-y", "--task and a risk-free sk-y"),
    ],
)
def test_keys_are_hidden_and_nothing_else(line: str, shown: str) -> None:
    assert mask(line, ["hunter22", "is"]) == shown
