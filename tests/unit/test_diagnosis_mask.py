"""What is not shown of a log."""

import pytest

from orchestrator.diagnosis.mask import mask


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("non-default args: {'api_key': ['sk-very-secret']}", "non-default args: {'api_key': ['***']}"),
        ("vllm serve M --api-key s3cret --port 1", "vllm serve M --api-key *** --port 1"),
        ("token hf_abcdefghijkl is not valid", "token hf_*** is not valid"),
        ("No module named 'hf_transfer', nor hf_overrides or hf_hub_download", None),
        ("{'api_key': ['first-key', 'second']}", "{'api_key': ['***', '***']}"),
        ("serve --api-key one two --port 1", "serve --api-key *** *** --port 1"),
        ("HUGGING_FACE_HUB_TOKEN=abcdefgh12345 x", "HUGGING_FACE_HUB_TOKEN=*** x"),
        ("AWS_SECRET_ACCESS_KEY='abc/def+1'", "AWS_SECRET_ACCESS_KEY='***'"),
        ("TOKENIZERS_PARALLELISM=false, max_tokens=12, eos_token: 3", None),
        ("proxy http://bob:pa55word@proxy:3128", "proxy http://bob:***@proxy:3128"),
        ("see http://localhost:8000/v1 and a@b", None),
        ("authorization: Basic dXNlcjpw", "authorization: Basic ***"),
        ("ghp_0123456789abcdef, nvapi-0123456789abc", "ghp_***, nvapi-***"),
        ("password=hunter2", "password=***"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("the value hunter22 stands here", "the value *** stands here"),
        ("--task and a risk-free sk-y", "--task and a risk-free sk-y"),
    ],
)
def test_keys_are_hidden_and_nothing_else(line: str, shown: str | None) -> None:
    """``shown`` None: as it was."""
    assert mask(line, ["hunter22", "is"]) == (shown or line)
