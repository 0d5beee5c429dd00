"""The settings that an engine tells at its start: what a log from anywhere is known to have been started with."""

import re
from collections.abc import Sequence

from orchestrator.diagnosis.literals import Quick
from orchestrator.diagnosis.model import Line
from orchestrator.model import Scalar

_ARGS = Quick(r"non-default args: |args: Namespace\(|engine \(v[\w.+]+\) with config: ")
_PAIR = re.compile(r"(?:'(\w+)': |\b(\w+)=)('[^']{0,200}'|\"[^\"]{0,200}\"|-?\d+(?:\.\d+)?|True|False)(?=[,)} ]|$)")
_FIELDS = {
    "model": "model",
    "port": "serve.port",
    "max_model_len": "serve.max_model_len",
    "max_seq_len": "serve.max_model_len",
    "gpu_memory_utilization": "serve.gpu_memory_utilization",
    "tensor_parallel_size": "serve.tensor_parallel_size",
    "pipeline_parallel_size": "serve.pipeline_parallel_size",
    "quantization": "model.quantization",
    "dtype": "serve.args.dtype",
    "chat_template": "serve.args.chat_template",
    "max_num_seqs": "serve.args.max_num_seqs",
    "max_num_batched_tokens": "serve.args.max_num_batched_tokens",
    "max_lora_rank": "serve.args.max_lora_rank",
}
_VERSION = Quick(r"\bversion (\d+\.\d+[\w.+]*)|engine \(v(\d+\.\d+[\w.+]*)\)")


def said(lines: Sequence[Line]) -> dict[str, Scalar]:
    """By the dotted path of a profile's field, and the engine's "version"; what is told first counts."""
    known: dict[str, Scalar] = {}
    for line in lines:
        if _ARGS.search(line.text):
            for quoted, bare, text in _PAIR.findall(line.text):
                if (field := _FIELDS.get(quoted or bare)) and field not in known:
                    known[field] = _scalar(text)
        if "version" not in known and (found := _VERSION.search(line.text[:400])):
            known["version"] = found[1] or found[2]
    return known


def _scalar(text: str) -> Scalar:
    if text[0] in "'\"":
        return text[1:-1].removeprefix("torch.")
    if text in {"True", "False"}:
        return text == "True"
    return float(text) if "." in text else int(text)
