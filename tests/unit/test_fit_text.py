"""The arithmetic as `orch inspect` prints it. The texts are in golden/fit; UPDATE_GOLDEN=1 writes them anew."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import golden
import pytest
from fit_kit import ADA, GIB, H100, LINEAR, both, header, plain, tiny
from known_models import MODELS, QWEN3_32B, QWEN3_32B_AWQ, QWEN3_32B_FP8, QWEN3_32B_GPTQ

from orchestrator.fit.advice import fit
from orchestrator.fit.config import architecture
from orchestrator.fit.model import Cards, Seen, Use
from orchestrator.fit.text import fit_text, variants_text
from orchestrator.fit.variants import Candidate, compare
from orchestrator.fit.weights import measured

NOTES = Use(max_model_len=40960, utilization=0.9)
BY_NAME = {known.name: known.config for known in MODELS}


def _text(config: dict[str, Any], use: Use, cards: Cards, **more: Any) -> list[str]:
    return fit_text(fit(*both(config), cards, use, **more))


def _measured() -> list[str]:
    found = architecture(tiny(tie_word_embeddings=True))
    weights = measured([header(plain(tiny()), "model.safetensors")], found)
    return fit_text(fit(found, weights, Cards(GIB, cpu=True), Use()))


def _checkpoints(cards: Cards) -> list[str]:
    plain_ = Candidate("Qwen/Qwen3-32B", *both(QWEN3_32B), disk=65_535_990_000, supported=True, cached=False)
    awq = Candidate("Qwen/Qwen3-32B-AWQ", *both(QWEN3_32B_AWQ), disk=19_338_000_000, supported=True, cached=True)
    fp8 = Candidate("Qwen/Qwen3-32B-FP8", *both(QWEN3_32B_FP8), disk=33_555_000_000, supported=True, cached=False)
    gptq = Candidate("somebody/Qwen3-32B-GPTQ-Int8", *both(QWEN3_32B_GPTQ))
    return variants_text(compare((plain_, awq, fp8, gptq), cards, NOTES), cards)


CASES: dict[str, Callable[[], list[str]]] = {
    "one-card": lambda: _text(QWEN3_32B, NOTES, ADA),
    "two-cards": lambda: _text(QWEN3_32B, replace(NOTES, tensor=2), ADA),
    "three-cards": lambda: _text(QWEN3_32B, replace(NOTES, tensor=3), ADA),
    "awq": lambda: _text(QWEN3_32B_AWQ, NOTES, ADA),
    "windows-and-a-tower": lambda: _text(BY_NAME["Gemma-3-27B"], Use(), H100),
    "latent-and-experts": lambda: _text(BY_NAME["DeepSeek-V3"], Use(tensor=8), H100),
    "mxfp4": lambda: _text(BY_NAME["gpt-oss-20b"], Use(), Cards(24 * GIB, name="RTX 4090", capability="8.9")),
    "states": lambda: _text(LINEAR, Use(), Cards(24 * GIB)),
    "seen-here": lambda: _text(QWEN3_32B_AWQ, NOTES, ADA, seen=Seen(3 * GIB, "the start of 12 May")),
    "cpu-from-headers": _measured,
    "a-custom-model": lambda: _text({"architectures": ["MyModel"], "hidden_size": 64}, Use(), ADA),
    "checkpoints": lambda: _checkpoints(ADA),
    "checkpoints-too-large": lambda: _checkpoints(Cards(12 * GIB, 1)),
}


@pytest.mark.parametrize("name", CASES)
def test_text(name: str) -> None:
    golden.check("fit", name, "\n".join(CASES[name]()))


def test_no_golden_text_is_left_over() -> None:
    assert golden.unused("fit", set(CASES)) == set()
