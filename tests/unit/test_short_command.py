"""What orch shows of a stranger's command line."""

import pytest

from orchestrator.short_command import short_command

SECRET = "hf_Abc123secret"


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        ([], ""),
        ([""], ""),
        (["/opt/conda/bin/python3.11", "-u", "/home/alice/lab/train.py", "--lr", "1"], "python3.11 train.py"),
        (["python", "-m", "vllm.entrypoints.api_server", "--model", "m"], "python -m vllm.entrypoints.api_server"),
        (["python", "-W", "ignore", "-X", "faulthandler", "train.py"], "python train.py"),
        (["python", "-Wignore", "-Bum", "lab.train", "x"], "python -m lab.train"),
        (["python", "/srv/rt/bin/vllm", "serve", "org/model"], "python vllm"),
        (["python"], "python"),
        (["/usr/bin/ollama", "runner", "--model", "m"], "ollama runner"),
        (["blender", "/home/bob/scenes/city.blend"], "blender city.blend"),
        (["VLLM::EngineCore"], "VLLM::EngineCore"),
        (["/usr/lib/xorg/Xorg", ":0"], "Xorg"),
        (["evil\x1b[2J\n"], "evil?[2J"),
        (["x" * 50], "x" * 37 + "..."),
    ],
)  # fmt: skip
def test_a_command_in_two_words(argv: list[str], shown: str) -> None:
    assert short_command(argv) == shown


@pytest.mark.parametrize(
    "argv",
    [
        ["python", "train.py", "--token", SECRET],
        ["python", "-c", f"login({SECRET!r})"],
        ["python", f"-clogin({SECRET!r})"],
        ["python", "-Ic", f"login({SECRET!r})"],
        ["python", "-X", SECRET, "train.py"],
        ["bash", "-c", f"TOKEN={SECRET} run"],
        ["llama-server", "--api-key", SECRET, "--port", "1"],
        ["llama-server", f"--api-key={SECRET}"],
        ["login", SECRET],
        ["env", f"HF_TOKEN={SECRET}", "serve"],
        ["fetch", f"https://me:{SECRET}@host/model"],
    ],
)
def test_a_secret_must_not_be_shown(argv: list[str]) -> None:
    assert SECRET not in short_command(argv)
