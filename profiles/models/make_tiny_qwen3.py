"""Makes ``tiny-qwen3/``: a random Qwen3 of 0.35 MB, so that a real vLLM can be tried on any machine, offline.

It talks nonsense, but it loads, answers and fails as the large ones do. The same script gives the same bytes
(torch 2.13, transformers 5.19, tokenizers 0.23). Run it with the Python of a vLLM runtime:
    python profiles/models/make_tiny_qwen3.py
"""

import json
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

HERE = Path(__file__).resolve().parent / "tiny-qwen3"
TEXT = """\
A deployment is done when the model answers, and not a moment before. Look at what runs, compare it with what is
wanted, and say every step before taking the first. Prepare whatever can fail while the old server still answers its
users; only then stop one thing and start another. If the new one does not wake up, bring the former back and explain
why in words. Hello, little graphics card: how much memory have you got today? Enough for two layers, thank you. Never
signal a stranger, never hide a failure, keep the last lines of each log. Twice applied is
once changed; good night, bright machine."""
CHAT_TEMPLATE = """\
{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
VOCABULARY = 512
POSITIONS = 512


def make_tokenizer() -> PreTrainedTokenizerFast:
    """256 bytes, the merges found in our own text, two special tokens: 512 in all, so every output has a text."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator([TEXT], vocab_size=VOCABULARY - 2, min_frequency=1, show_progress=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
        model_max_length=POSITIONS,
    )


def make_model(eos: int) -> Qwen3ForCausalLM:
    torch.manual_seed(20)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=eos,
    )
    return Qwen3ForCausalLM(config).to(torch.bfloat16)


def main() -> None:
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(HERE)
    make_model(tokenizer.eos_token_id).save_pretrained(HERE)
    (HERE / "model.safetensors").chmod(0o644)  # the library leaves 0600
    size = sum(file.stat().st_size for file in HERE.iterdir())
    print(json.dumps({"tokens": len(tokenizer), "bytes": size}))  # noqa: T201


if __name__ == "__main__":
    main()
