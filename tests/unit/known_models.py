"""Facts of well-known models: the fields of their config.json that count, and how many parameters they are published
with: the total of the model's safetensors, without what is no part of it (a tied head that is written out all the same,
layers that only predict tokens ahead).
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Known:
    name: str
    parameters: int
    config: dict[str, Any]


def _config(
    kind: str, layers: int, hidden: int, heads: int, kv: int, width: int, vocabulary: int, most: int, **more: Any
) -> dict[str, Any]:
    return {
        "architectures": [f"{kind.title().replace('_', '')}ForCausalLM"],
        "model_type": kind,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "intermediate_size": width,
        "vocab_size": vocabulary,
        "max_position_embeddings": most,
        "torch_dtype": "bfloat16",
        **more,
    }


def _qwen3(layers: int, hidden: int, heads: int, width: int, **more: Any) -> dict[str, Any]:
    return _config("qwen3", layers, hidden, heads, 8, width, 151936, 40960, head_dim=128, **more)


def _qwen3_moe(layers: int, hidden: int, heads: int, width: int, expert: int) -> dict[str, Any]:
    return _config(
        "qwen3_moe", layers, hidden, heads, 4, width, 151936, 40960, head_dim=128, num_experts=128,
        num_experts_per_tok=8, moe_intermediate_size=expert, decoder_sparse_step=1, mlp_only_layers=[],
    )  # fmt: skip


_LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}
_DEEPSEEK = {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096}


def _llama3(layers: int, hidden: int, heads: int, width: int, kv: int = 8) -> dict[str, Any]:
    return _config("llama", layers, hidden, heads, kv, width, 128256, 131072, rope_scaling=_LLAMA3)


QWEN3_32B = _qwen3(64, 5120, 64, 25600, tie_word_embeddings=False)

QWEN3_32B_AWQ = {
    **QWEN3_32B,
    "torch_dtype": "float16",
    "quantization_config": {
        "quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm",
        "modules_to_not_convert": None,
    },
}  # fmt: skip
QWEN3_32B_FP8 = {
    **QWEN3_32B,
    "quantization_config": {
        "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128],
    },
}  # fmt: skip
QWEN3_32B_GPTQ = {
    **QWEN3_32B,
    "torch_dtype": "float16",
    "quantization_config": {"quant_method": "gptq", "bits": 8, "group_size": 128, "desc_act": False, "sym": True},
}

MODELS = (
    Known("Qwen3-0.6B", 596_049_920, _qwen3(28, 1024, 16, 3072, tie_word_embeddings=True)),
    Known("Qwen3-4B", 4_022_468_096, _qwen3(36, 2560, 32, 9728, tie_word_embeddings=True)),
    Known("Qwen3-8B", 8_190_735_360, _qwen3(36, 4096, 32, 12288)),
    Known("Qwen3-14B", 14_768_307_200, _qwen3(40, 5120, 40, 17408)),
    Known("Qwen3-32B", 32_762_123_264, QWEN3_32B),
    Known("Qwen3-30B-A3B", 30_532_122_624, _qwen3_moe(48, 2048, 32, 6144, 768)),
    Known("Qwen3-235B-A22B", 235_093_634_560, _qwen3_moe(94, 4096, 64, 12288, 1536)),
    Known("Qwen2.5-7B", 7_615_616_512, _config("qwen2", 28, 3584, 28, 4, 18944, 152064, 131072)),
    Known("Qwen2.5-72B", 72_706_203_648, _config("qwen2", 80, 8192, 64, 8, 29568, 152064, 131072)),
    Known("Llama-2-7B", 6_738_415_616, _config("llama", 32, 4096, 32, 32, 11008, 32000, 4096)),
    Known("Llama-3.1-8B", 8_030_261_248, _llama3(32, 4096, 32, 14336)),
    Known("Llama-3.1-70B", 70_553_706_496, _llama3(80, 8192, 64, 28672)),
    Known("Llama-3.1-405B", 405_853_388_800, _llama3(126, 16384, 128, 53248)),
    Known(
        "Mistral-7B-v0.1", 7_241_732_096,
        _config("mistral", 32, 4096, 32, 8, 14336, 32000, 32768, sliding_window=4096),
    ),
    Known(
        "Mixtral-8x7B", 46_702_792_704,
        _config("mixtral", 32, 4096, 32, 8, 14336, 32000, 32768, num_local_experts=8, num_experts_per_tok=2),
    ),
    Known(
        "Mixtral-8x22B", 140_620_634_112,
        _config("mixtral", 56, 6144, 48, 8, 16384, 32000, 65536, num_local_experts=8, num_experts_per_tok=2),
    ),
    Known(
        "Gemma-2-9B", 9_241_705_984,
        _config("gemma2", 42, 3584, 16, 8, 14336, 256000, 8192, head_dim=256, sliding_window=4096),
    ),
    Known(
        "Gemma-2-27B", 27_227_128_320,
        _config("gemma2", 46, 4608, 32, 16, 36864, 256000, 8192, head_dim=128, sliding_window=4096),
    ),
    Known(
        "Gemma-3-27B", 27_432_406_640,
        {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "model_type": "gemma3",
            "torch_dtype": "bfloat16",
            "mm_tokens_per_image": 256,
            "text_config": {
                "model_type": "gemma3_text", "hidden_size": 5376, "intermediate_size": 21504, "num_hidden_layers": 62,
                "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128, "sliding_window": 1024,
                "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            },
            "vision_config": {
                "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "image_size": 896,
                "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14,
            },
        },
    ),
    Known("Phi-3-mini-4k", 3_821_079_552, _config("phi3", 32, 3072, 32, 32, 8192, 32064, 4096, sliding_window=2047)),
    Known("Phi-4", 14_659_507_200, _config("phi3", 40, 5120, 40, 10, 17920, 100352, 16384, sliding_window=None)),
    Known(
        "Qwen1.5-MoE-A2.7B", 14_315_784_192,
        _config(
            "qwen2_moe", 24, 2048, 16, 16, 5632, 151936, 8192, num_experts=60, num_experts_per_tok=4,
            moe_intermediate_size=1408, shared_expert_intermediate_size=5632, decoder_sparse_step=1,
        ),
    ),
    Known(
        "Qwen3-Next-80B-A3B", 79_674_391_296,
        _config(
            "qwen3_next", 48, 2048, 16, 2, 5120, 151936, 262144, head_dim=256, num_experts=512,
            num_experts_per_tok=10, moe_intermediate_size=512, shared_expert_intermediate_size=512,
            decoder_sparse_step=1, mlp_only_layers=[], full_attention_interval=4, linear_num_value_heads=32,
            linear_num_key_heads=16, linear_key_head_dim=128, linear_value_head_dim=128, linear_conv_kernel_dim=4,
        ),
    ),
    Known(
        "GLM-4.5-Air", 106_852_251_264,
        _config(
            "glm4_moe", 46, 4096, 96, 8, 10944, 151552, 131072, head_dim=128, n_routed_experts=128,
            n_shared_experts=1, num_experts_per_tok=8, moe_intermediate_size=1408, first_k_dense_replace=1,
            attention_bias=True, num_nextn_predict_layers=1,
        ),
    ),
    Known(
        "DeepSeek-V2-Lite", 15_706_484_224,
        _config(
            "deepseek_v2", 27, 2048, 16, 16, 10944, 102400, 163840, kv_lora_rank=512, q_lora_rank=None,
            qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, n_routed_experts=64, n_shared_experts=2,
            num_experts_per_tok=6, moe_intermediate_size=1408, first_k_dense_replace=1, moe_layer_freq=1,
            topk_method="greedy", rope_scaling=_DEEPSEEK,
        ),
    ),
    Known(
        "DeepSeek-V3", 671_026_419_200,
        _config(
            "deepseek_v3", 61, 7168, 128, 128, 18432, 129280, 163840, kv_lora_rank=512, q_lora_rank=1536,
            qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, n_routed_experts=256, n_shared_experts=1,
            num_experts_per_tok=8, moe_intermediate_size=2048, first_k_dense_replace=3, moe_layer_freq=1,
            topk_method="noaux_tc", num_nextn_predict_layers=1, rope_scaling=_DEEPSEEK,
            quantization_config={
                "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128],
            },
        ),
    ),
    Known(
        "gpt-oss-20b", 20_914_757_184,
        _config(
            "gpt_oss", 24, 2880, 64, 8, 2880, 201088, 131072, head_dim=64, num_local_experts=32,
            num_experts_per_tok=4, sliding_window=128, attention_bias=True,
            layer_types=["sliding_attention", "full_attention"] * 12,
            rope_scaling={"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096},
            quantization_config={
                "quant_method": "mxfp4",
                "modules_to_not_convert": [
                    "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head",
                ],
            },
        ),
    ),
    Known("OLMo-2-7B", 7_298_617_344, _config("olmo2", 32, 4096, 32, 32, 11008, 100352, 4096)),
    Known(
        "Falcon-7B", 6_921_720_704,
        {
            "architectures": ["FalconForCausalLM"], "model_type": "falcon", "num_hidden_layers": 32,
            "hidden_size": 4544, "num_attention_heads": 71, "vocab_size": 65024, "multi_query": True,
            "parallel_attn": True, "bias": False,
            "new_decoder_architecture": False, "torch_dtype": "bfloat16",
        },
    ),
)  # fmt: skip
