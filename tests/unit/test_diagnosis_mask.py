"""What is not shown of a log."""

import time
from pathlib import Path

import pytest

from orchestrator.diagnosis.mask import mask


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("non-default args: {'api_key': ['sk-very-secret']}", "non-default args: {'api_key': ['***']}"),
        ("vllm serve M --api-key s3cret --port 1", "vllm serve M --api-key *** --port 1"),
        ("token hf_abcdefghijklmnopqrstuvwxyzABCDEFGH is not valid", "token hf_*** is not valid"),
        ("hf_configuration, hf_hub_download_with_retries, sk-learn-pipelines-everywhere", None),
        ("it is sk-proj-0123456789abcdef, and sk-learn-1", "it is sk-***, and sk-learn-1"),
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
        (
            "one\nVLLM_API_KEY=abc\nthree\n\r 5% of api_key='x'\n",
            "one\nVLLM_API_KEY=***\nthree\n\r 5% of api_key='***'\n",
        ),
        ("the value hunter22 stands here", "the value *** stands here"),
        ("--task and a risk-free sk-y", "--task and a risk-free sk-y"),
    ],
)
def test_keys_are_hidden_and_nothing_else(line: str, shown: str | None) -> None:
    """``shown`` None: as it was."""
    assert mask(line, ["hunter22", "is"]) == (shown or line)


def test_a_log_is_masked_in_less_time_than_it_is_read_in() -> None:
    """A MiB in some 10 ms; where each pattern is tried at every character it takes 200."""
    text = (Path(__file__).parent.parent / "recorded" / "vllm-0.32-cpu-ready.log").read_text(encoding="utf-8")
    text *= 1 + (1 << 20) // len(text)
    began = time.process_time()
    assert mask(text) == text
    assert time.process_time() - began < 0.15


def test_a_line_that_is_made_to_take_long_does_not() -> None:
    began = time.process_time()
    for piece in ("sk-", "api_key", "A_TOKEN", "authorization:", "http://a:", "--api-key ", "AKIA", "hf_", "@://"):
        mask(piece * 2000)
    assert time.process_time() - began < 1
