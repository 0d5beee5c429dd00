"""Counts the tokens of requests with a model's own tokenizer and chat template, in the engine's own runtime. Takes 2 s.

Reads a JSON object on stdin: {"folder": of the tokenizer, "trust_remote_code": BOOL, "chat_template": TEXT or null,
"inputs": [{"text": TEXT} | {"messages": [...], "tools": [...], "template_kwargs": {...}}]}. The last line of stdout is
{"ok": true, "template": BOOL, "counts": [COUNT], "together": COUNT} or {"ok": false, "error": TEXT}, where COUNT is
{"tokens": all that the engine is sent, "text": those of the text alone} or {"error": TEXT}. A text is one message of a
user; without a chat template it is counted as a completion's prompt. "together" is all inputs as one conversation.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any


def load(folder: str, trust: bool) -> Any:
    if not trust:  # a tokenizer needs no torch, whose import takes longer than all the rest
        find = importlib.util.find_spec
        hidden = ("torch", "torchvision", "torchaudio", "tensorflow")
        importlib.util.find_spec = lambda name, package=None: None if name in hidden else find(name, package)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)


def template_of(tokenizer: Any, folder: Path, given: str | None) -> Any:
    """None: it has none. Older multi-modal models keep theirs beside the tokenizer's."""
    if given or getattr(tokenizer, "chat_template", None):
        return given or tokenizer.chat_template
    try:
        return json.loads((folder / "chat_template.json").read_text("utf-8"))["chat_template"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def messages_of(one: dict[str, Any]) -> list[dict[str, Any]]:
    return one["messages"] if "messages" in one else [{"role": "user", "content": one["text"]}]


def text_of(message: dict[str, Any]) -> str:
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict) and part.get("type") == "text")


def count(tokenizer: Any, template: Any, one: dict[str, Any]) -> dict[str, Any]:
    messages = messages_of(one)

    def length(text: str, special: bool = False) -> int:
        return len(tokenizer(text, add_special_tokens=special)["input_ids"])

    bare = sum(length(text_of(message)) for message in messages)
    if template is None:
        return {"tokens": length("\n".join(text_of(message) for message in messages), True), "text": bare}
    prompt = tokenizer.apply_chat_template(
        messages,
        tools=one.get("tools"),
        chat_template=template,
        add_generation_prompt=True,
        tokenize=False,
        **(one.get("template_kwargs") or {}),
    )
    return {"tokens": length(prompt), "text": bare}


def joined(inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """Texts that follow each other are one message."""
    messages: list[dict[str, Any]] = []
    run: list[str] = []
    for one in [*inputs, {"messages": []}]:
        if "text" in one:
            run.append(one["text"])
            continue
        messages += [{"role": "user", "content": "\n\n".join(run)}] if run else []
        messages += one["messages"]
        run = []
    tools = [tool for one in inputs for tool in one.get("tools") or ()]
    kwargs = {name: value for one in inputs for name, value in (one.get("template_kwargs") or {}).items()}
    return {"messages": messages, "tools": tools or None, "template_kwargs": kwargs}


def tried(tokenizer: Any, template: Any, one: dict[str, Any]) -> dict[str, Any]:
    try:
        return count(tokenizer, template, one)
    except Exception as error:  # noqa: BLE001 (a template is a program, and may raise anything)
        return {"error": " ".join(str(error).split()) or type(error).__name__}


def main(asked: dict[str, Any]) -> dict[str, Any]:
    try:
        tokenizer = load(asked["folder"], asked["trust_remote_code"])
    except Exception as error:  # noqa: BLE001 (likewise the loading of a tokenizer)
        return {"ok": False, "error": " ".join(str(error).split()) or type(error).__name__}
    template = template_of(tokenizer, Path(asked["folder"]), asked.get("chat_template"))
    counts = [tried(tokenizer, template, one) for one in asked["inputs"]]
    together = tried(tokenizer, template, joined(asked["inputs"])) if counts[1:] else counts[0]
    return {"ok": True, "template": template is not None, "counts": counts, "together": together}


if __name__ == "__main__":
    here = Path(__file__).resolve().parent  # this folder's files are not modules of the runtime
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != here]
    answer = main(json.loads(sys.stdin.read()))
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
