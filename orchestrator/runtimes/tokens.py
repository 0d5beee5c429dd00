"""How many tokens a request has, by the model's own tokenizer and template, asked in the engine's own Python."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import RuntimeFailure
from orchestrator.fit.inputs import Count, Counts, Input
from orchestrator.model import RuntimeInfo, RuntimeSpec, RuntimeState
from orchestrator.runtimes.inspect import INSIDE, clean_env
from orchestrator.shell import CommandFailed, run

TIMEOUT = 180.0  # seconds; it takes 2, and a cold disk its time
ALONE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
KEPT = ("tokenizer*", "*.model", "vocab*", "*.tiktoken", "tekken.json")
"""Patterns of files one of which any tokenizer has."""
_WHAT = "count tokens"
_FETCH = "fetch the model's files by `orch pull`"


def ready(runtime: RuntimeSpec, state: RuntimeState) -> RuntimeInfo:
    """What counts. Raises RuntimeFailure where there is nothing that could."""
    if state.info is None:
        why = f"it takes the runtime {runtime.label}, which is not there"
        do = "build it by `orch apply`" if state.status == "buildable" else "repair it"
        raise RuntimeFailure(_WHAT, f"{why}: {state.why}" if state.why else why, f"{do}, or leave out --input")
    return state.info


def count(
    runtime: RuntimeSpec,
    state: RuntimeState,
    folder: Path,
    inputs: Sequence[Input],
    variables: Mapping[str, str],
    *,
    trust_remote_code: bool = False,
    chat_template: str | None = None,
) -> Counts:
    """``folder`` holds the tokenizer; ``variables`` is the caller's environment; ``chat_template`` takes the place of
    the model's own. Raises RuntimeFailure."""
    info = ready(runtime, state)
    if not any(next(folder.glob(pattern), None) for pattern in KEPT):
        raise RuntimeFailure(_WHAT, f"there is no tokenizer in {folder}", _FETCH)
    asked = {
        "folder": str(folder),
        "inputs": [one.asked() for one in inputs],
        "trust_remote_code": trust_remote_code,
        "chat_template": chat_template,
    }
    python = Path(info.python)
    try:
        done = run(
            [str(python), str(INSIDE / "count_tokens.py")],
            env=clean_env(variables, python, {**info.env, **ALONE}),
            timeout=TIMEOUT,
            stdin=json.dumps(asked),
        )
        answer = json.loads(done.stdout.strip().rpartition("\n")[2])
    except CommandFailed as error:
        raise RuntimeFailure(_WHAT, error.why, f"see whether {python} has transformers") from error
    except ValueError:
        raise RuntimeFailure(_WHAT, f"{python} answered with no JSON", "see whether it starts at all") from None
    if not answer["ok"]:
        raise RuntimeFailure(_WHAT, f"the tokenizer in {folder} does not load: {answer['error'][:300]}", _cure(answer))
    each = tuple(_count(one) for one in answer["counts"])
    return Counts(each, _count(answer["together"]), answer["template"])


def _count(told: Mapping[str, Any]) -> Count:
    return Count(why=told["error"]) if "error" in told else Count(told["tokens"], told["text"])


def _cure(answer: Mapping[str, Any]) -> str:
    if "trust_remote_code" in answer["error"]:
        return "it runs code of its own: serve.args: {trust_remote_code: true} allows it"
    return _FETCH
