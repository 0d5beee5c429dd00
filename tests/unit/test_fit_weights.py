"""How much a model weighs, and what of it lies on each card: every sum beside one made by hand."""

from collections import defaultdict
from typing import Any

import pytest
from fit_kit import SOME, awq, both, header, plain, tensor, tiny
from hypothesis import given
from hypothesis import strategies as st
from known_models import MODELS, QWEN3_32B, QWEN3_32B_AWQ, QWEN3_32B_FP8, QWEN3_32B_GPTQ, Known

from orchestrator.fit.config import architecture
from orchestrator.fit.division import card_bytes, padded, refusals, stages
from orchestrator.fit.model import Architecture, Header, Quantization, Use, Weights
from orchestrator.fit.names import role
from orchestrator.fit.quantization import matrix_bytes
from orchestrator.fit.weights import computed, measured

BY_NAME = {known.name: known for known in MODELS}


@pytest.mark.parametrize("known", MODELS, ids=lambda known: known.name)
def test_a_config_gives_the_published_number_of_parameters(known: Known) -> None:
    found = architecture(known.config)
    assert computed(found).parameters == known.parameters
    assert found.unknown == ()


def test_the_table_holds_at_least_25_models_of_many_families() -> None:
    assert len(BY_NAME) >= 25
    assert len({architecture(known.config).model_type for known in MODELS}) >= 12


def test_qwen3_32b_by_hand() -> None:
    # A layer: queries and output 2 x 5120 x 8192, keys and values 2 x 5120 x 1024, feed-forward 3 x 5120 x 25600,
    # two norms of 5120, two of a head's 128. 64 of them, twice the vocabulary, and the last norm.
    layer = 2 * 5120 * 8192 + 2 * 5120 * 1024 + 3 * 5120 * 25600 + 2 * 5120 + 2 * 128
    by_hand = 64 * layer + 2 * 151936 * 5120 + 5120
    _, weights = both(QWEN3_32B)
    assert weights.parameters == by_hand == 32_762_123_264
    assert weights.bytes == 2 * by_hand  # 65.5 GB: the 64 GB of everybody's estimate
    assert weights.how == "computed"


def test_published_files_of_quantized_models_to_the_byte() -> None:
    # The sizes of Qwen/Qwen3-32B-AWQ's and openai/gpt-oss-20b's tensors, as their files have them.
    assert both(QWEN3_32B_AWQ)[1].bytes == 19_325_298_688
    assert both(BY_NAME["gpt-oss-20b"].config)[1].bytes == 13_761_264_768


def test_parameters_and_bytes_of_each_dtype() -> None:
    # Embeddings, head and norms in two bytes; the layers' matrices in half of one, with their scales and zero points.
    plain_ = 2 * 151936 * 5120 + 5120 + 64 * (2 * 5120 + 2 * 128)
    packed = 32_762_123_264 - plain_
    kinds = both(QWEN3_32B_AWQ)[1].by_dtype
    assert list(kinds) == ["awq 4 bit", "F16"]
    assert kinds["F16"] == (plain_, 2 * plain_)
    assert kinds["awq 4 bit"] == (packed, packed // 2 + packed // 128 * 2 + packed // 128 // 2)


def test_a_quantized_model_has_as_many_weights_as_the_plain_one() -> None:
    for config in (QWEN3_32B_AWQ, QWEN3_32B_FP8, QWEN3_32B_GPTQ):
        assert both(config)[1].parameters == 32_762_123_264


SCHEMES: dict[str, tuple[Quantization, int]] = {
    # 256 outputs by 512 inputs. awq: half a byte a weight; for each of 4 groups and 256 outputs a scale of two bytes
    # and a zero point of half a byte.
    "awq": (Quantization("awq", 4, 128, zero_points=True), 65536 + 4 * 256 * 2 + 4 * 128),
    # gptq: the same, and the group of each input, 4 bytes.
    "gptq": (Quantization("gptq", 4, 128, zero_points=True), 65536 + 2048 + 512 + 4 * 512),
    "gptq, 8 bits": (Quantization("gptq", 8, 128, zero_points=True), 131072 + 2048 + 1024 + 2048),
    # fp8 in blocks of 128 x 128: 2 x 4 scales of four bytes.
    "fp8 in blocks": (Quantization("fp8", 8, -1, (128, 128)), 131072 + 4 * 8),
    "fp8, one scale": (Quantization("fp8", 8, -1), 131072 + 4),
    # a scale of two bytes for each output.
    "w8a8": (Quantization("compressed-tensors", 8, 0), 131072 + 2 * 256),
    "w4a16": (Quantization("compressed-tensors", 4, 128), 65536 + 4 * 256 * 2),
    # a shared exponent of a byte for each 32 weights; a scale of a byte for each 16, and two of four bytes.
    "mxfp4": (Quantization("mxfp4", 4, 32), 65536 + 131072 // 32),
    "nvfp4": (Quantization("nvfp4", 4, 16), 65536 + 131072 // 16 + 8),
    # bitsandbytes: 2048 blocks of 64, each with a scale of four bytes; quantized again, of one, and 8 of four bytes.
    "nf4": (Quantization("bitsandbytes", 4, 64, zero_points=True), 65536 + 4 * 2048),
    "nf4, twice": (Quantization("bitsandbytes", 4, 64), 65536 + 2048 + 4 * 8),
    "llm.int8": (Quantization("bitsandbytes", 8, 0), 131072 + 4 * 256),
}


@pytest.mark.parametrize("name", SCHEMES)
def test_bytes_of_a_quantized_matrix(name: str) -> None:
    scheme, by_hand = SCHEMES[name]
    assert matrix_bytes(scheme, 256, 512) == by_hand


@pytest.mark.parametrize(
    "said", [{"quant_method": "modelopt_fp4"}, {"quant_method": "modelopt", "quant_algo": "NVFP4"}]
)
def test_the_scales_of_a_matrix_by_modelopt(said: dict[str, str]) -> None:
    found = architecture(tiny(quantization_config=said))
    assert found.quantization is not None
    assert matrix_bytes(found.quantization, 256, 512) == 65536 + 131072 // 16 + 8


def test_modules_that_are_kept_stay_plain() -> None:
    kept = {"quant_method": "awq", "bits": 4, "group_size": 64, "modules_to_not_convert": ["self_attn", "lm_head"]}
    _, weights = both(tiny(quantization_config=kept))
    plain_kinds = {part.split for part in weights.parts if part.dtype == "BF16" and part.place == "layers"}
    assert plain_kinds == {"heads", "kv", "copied"}
    assert {part.split for part in weights.parts if part.dtype == "awq 4 bit"} == {"width"}


def _sums(weights: Weights) -> dict[Any, int]:
    sums: dict[Any, int] = defaultdict(int)
    for part in weights.parts:
        sums[part.place, part.split, part.layer] += part.bytes
    return dict(sums)


MOE = {"model_type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
WIDE = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64}


@pytest.mark.parametrize(
    ("config", "make"),
    [
        (tiny(), plain),
        (tiny(model_type="llama"), plain),
        (tiny(**MOE), plain),
        (tiny(**WIDE, quantization_config=AWQ), awq),
    ],
    ids=["qwen3", "llama", "mixture", "awq"],
)
def test_headers_and_config_tell_the_same(config: dict[str, Any], make: Any) -> None:
    found, reckoned = both(config)
    read = measured([header(make(config))], found)
    assert read.parameters == reckoned.parameters
    assert _sums(read) == _sums(reckoned)
    assert (read.how, read.source, read.unsure) == ("measured", "header of model.safetensors", ())


def test_a_tied_head_that_is_written_out_is_not_loaded() -> None:
    config = tiny(tie_word_embeddings=True)
    found, reckoned = both(config)
    read = measured([header(plain(config))], found)
    assert read.bytes == reckoned.bytes
    assert sum(part.bytes for part in read.parts if part.place == "unused") == 512 * 64 * 2


def test_layers_beyond_the_last_are_not_loaded() -> None:
    config = tiny()
    ahead = tensor("model.layers.2.mlp.up_proj.weight", "BF16", 128, 64)
    read = measured([header([*plain(config), ahead])], architecture(config))
    assert read.bytes == both(config)[1].bytes


def test_a_tensor_of_a_strange_name_is_counted_on_every_card_and_named() -> None:
    config = tiny()
    odd = [tensor(f"model.layers.{layer}.memory.bank.weight", "BF16", 16, 64) for layer in (0, 1)]
    found = architecture(config)
    read = measured([header([*plain(config), *odd])], found)
    assert read.unsure == ("how model.layers.N.memory.bank.weight are divided: counted whole on every card",)
    without = measured([header(plain(config))], found)
    for cards in (1, 2):
        more = card_bytes(read, found, Use(tensor=cards), 0) - card_bytes(without, found, Use(tensor=cards), 0)
        assert more == 2 * 16 * 64 * 2


SPLITS = {
    "model.layers.0.self_attn.q_proj.weight": "heads",
    "model.layers.0.self_attn.k_proj.bias": "kv",
    "transformer.h.0.mlp.c_fc.weight": "width",
    "transformer.h.0.mlp.c_proj.weight": "width",
    "transformer.h.0.attn.c_proj.weight": "heads",
    "model.layers.0.self_attn.kv_a_proj_with_mqa.weight": "copied",
    "model.layers.0.self_attn.kv_b_proj.weight": "heads",
    "model.layers.0.mlp.gate.weight": "copied",
    "model.layers.0.mlp.gate.e_score_correction_bias": "copied",
    "model.layers.0.mlp.experts.gate_up_proj_blocks": "experts",
    "model.layers.0.mlp.experts.7.w1.weight": "experts",
    "model.layers.0.mlp.shared_experts.up_proj.weight": "width",
    "model.layers.0.linear_attn.in_proj_qkvz.weight": "heads",
    "model.layers.0.mixer.A_log": "heads",
    "model.layers.0.input_layernorm.weight": "copied",
    "blk.0.attn_k.weight": "kv",
    "blk.0.ffn_down_exps.weight": "experts",
    "blk.0.ffn_gate_inp.weight": "copied",
    "blk.0.attn_norm.weight": "copied",
    "blk.0.ffn_gate.weight": "width",
}


@pytest.mark.parametrize("name", SPLITS)
def test_how_a_tensor_is_divided_is_told_by_its_name(name: str) -> None:
    where = role(tensor(name, "BF16", 8, 8), architecture(tiny()))
    assert (where.place, where.shares, where.layer, where.known) == ("layers", ((SPLITS[name], 1.0),), 0, True)


PLACES = {
    "model.embed_tokens.weight": "embeddings",
    "model.language_model.embed_tokens.weight": "embeddings",
    "token_embd.weight": "embeddings",
    "lm_head.weight": "head",
    "output.weight": "head",
    "output_norm.weight": "other",
    "model.norm.weight": "other",
    "visual.blocks.3.attn.qkv.weight": "other",
    "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight": "other",
    "model.layers.0.self_attn.rotary_emb.inv_freq": "unused",
    "mtp.layers.0.mlp.up_proj.weight": "unused",
}


@pytest.mark.parametrize("name", PLACES)
def test_where_a_tensor_lies_is_told_by_its_name(name: str) -> None:
    assert role(tensor(name, "BF16", 8, 8), architecture(tiny())).place == PLACES[name]


def test_a_fused_projection_is_divided_as_its_parts() -> None:
    # 4 heads of queries, 2 of keys, 2 of values: half of the rows are queries.
    found = architecture(tiny())
    read = measured([header([tensor("model.layers.0.self_attn.qkv_proj.weight", "BF16", 256, 64)])], found)
    assert _sums(read) == {("layers", "heads", 0): 128 * 64 * 2, ("layers", "kv", 0): 128 * 64 * 2}


def _card(config: dict[str, Any], tensor_: int = 1, pipeline: int = 1, stage: int = 0, **more: Any) -> int:
    found, weights = both(config)
    return card_bytes(weights, found, Use(tensor=tensor_, pipeline=pipeline, **more), stage)


def test_each_of_two_cards_by_hand() -> None:
    # Halves of everything but the norms, which each card has whole: 64 layers of 2 x 5120 + 2 x 128, and the last.
    norms = 2 * (64 * (2 * 5120 + 2 * 128) + 5120)
    assert _card(QWEN3_32B) == 65_524_246_528
    assert _card(QWEN3_32B, 2) == (65_524_246_528 - norms) // 2 + norms


def test_kv_heads_are_copied_when_there_are_more_cards() -> None:
    # 8 KV heads on 16 cards: each holds one whole head, an eighth of keys and values, not a sixteenth.
    pairs = 64 * 2 * 1024 * 5120 * 2
    norms = 2 * (64 * (2 * 5120 + 2 * 128) + 5120)
    rest = 65_524_246_528 - pairs - norms
    assert _card(QWEN3_32B, 16) == rest // 16 + pairs // 8 + norms


def test_a_vocabulary_is_padded_to_64_rows() -> None:
    assert (padded(50257), padded(151936), padded(1)) == (50304, 151936, 64)
    odd = tiny(vocab_size=500)  # 512 rows of 64 on the cards, twice, two bytes each
    assert _card(odd) - _card(tiny(vocab_size=512)) == 0
    assert both(odd)[1].bytes == both(tiny())[1].bytes - 2 * 12 * 64 * 2


def test_stages_of_a_pipeline() -> None:
    assert [len(stage) for stage in stages(64, 3)] == [21, 22, 21]
    assert [len(stage) for stage in stages(61, 4)] == [15, 15, 16, 15]
    assert [len(stage) for stage in stages(62, 4)] == [15, 16, 16, 15]
    assert [len(stage) for stage in stages(63, 4)] == [16, 16, 16, 15]
    assert stages(4, 2) == (range(2), range(2, 4))


def test_the_ends_of_a_pipeline_hold_embeddings_and_head() -> None:
    # One layer a stage; 512 x 64 of embeddings at the first, as much of a head at the last, the last norm at both.
    layer = _layer_bytes()
    ends = 512 * 64 * 2
    assert _card(tiny(), pipeline=2, stage=0) == layer + ends + 128
    assert _card(tiny(), pipeline=2, stage=1) == layer + ends + 128
    tied = tiny(tie_word_embeddings=True)  # the embeddings are needed at both ends
    assert _card(tied, pipeline=2, stage=0) == _card(tied, pipeline=2, stage=1) == layer + ends + 128
    assert _card(tiny(num_hidden_layers=3), pipeline=3, stage=1) == layer + 128


def _layer_bytes() -> int:
    """Of the tiny model: q, o 2 x 64 x 128; k, v 2 x 64 x 64; feed-forward 3 x 64 x 128; norms 2 x 64 + 2 x 32."""
    return 2 * (2 * 64 * 128 + 2 * 64 * 64 + 3 * 64 * 128 + 2 * 64 + 2 * 32)


def test_single_precision_is_loaded_as_half() -> None:
    assert both(tiny(torch_dtype="float32"))[1].bytes == 2 * both(tiny())[1].bytes
    assert _card(tiny(torch_dtype="float32")) == _card(tiny())
    assert _card(tiny(torch_dtype="float32"), dtype="float32") == 2 * _card(tiny())


def test_weights_that_are_converted_as_they_are_loaded() -> None:
    # The matrices of both layers take a byte instead of two; norms, embeddings and head stay.
    matrices = 2 * (2 * 64 * 128 + 2 * 64 * 64 + 3 * 64 * 128)
    assert _card(tiny()) - _card(tiny(), quantization="fp8") == matrices
    assert _card(tiny(), quantization="experts_int8") == _card(tiny(), quantization="unheard_of") == _card(tiny())
    mixture = tiny(**MOE)  # 2 layers of 8 experts of 3 x 64 x 32
    assert _card(mixture) - _card(mixture, quantization="experts_int8") == 2 * 8 * 3 * 64 * 32
    assert _card({**tiny(), "quantization_config": AWQ}, quantization="fp8") == _card(
        {**tiny(), "quantization_config": AWQ}
    )


REFUSED = {
    "64 attention heads are not divisible by 3": (QWEN3_32B, 3),
    "71 attention heads are not divisible by 2": (BY_NAME["Falcon-7B"].config, 2),
    "4 KV heads neither divide 6 nor are divided by it": (tiny(num_attention_heads=12, num_key_value_heads=4), 6),
    "a vocabulary of 512 rows is not divisible by 3": (tiny(num_attention_heads=6, num_key_value_heads=3), 3),
    "the expert's width on each card, 768 / 32 = 24, is no multiple of the 32 weights that share a scale": (
        {**BY_NAME["Qwen3-30B-A3B"].config, "quantization_config": QWEN3_32B_FP8["quantization_config"]},
        32,
    ),
    "the feed-forward width on each card, 29568 / 2 = 14784, is no multiple of the 128 weights that share a scale": (
        {**BY_NAME["Qwen2.5-72B"].config, "quantization_config": AWQ},
        2,
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_the_engine_refuses(why: str) -> None:
    config, cards = REFUSED[why]
    assert next(refusals(architecture(config), Use(tensor=cards))) == why
    assert list(refusals(architecture(config), Use(tensor=1))) == []


def test_experts_are_cut_through_a_block_whose_scale_can_be_spread() -> None:
    # 768 / 4 = 192 is no multiple of 128; with a scale for each 64 it comes out even.
    config = {**BY_NAME["Qwen3-30B-A3B"].config, "quantization_config": QWEN3_32B_FP8["quantization_config"]}
    assert list(refusals(architecture(config), Use(tensor=4))) == []


def test_more_stages_than_layers_are_refused() -> None:
    assert list(refusals(architecture(tiny()), Use(pipeline=3))) == ["2 layers are too few for 3 pipeline stages"]


def test_the_refusals_of_the_known_models_are_those_of_their_heads() -> None:
    able = {
        known.name: [cards for cards in (2, 3, 4, 5, 6, 7, 8) if not list(_refused(known, cards))] for known in MODELS
    }
    assert able["Qwen3-32B"] == [2, 4, 8]
    assert able["Qwen2.5-7B"] == [2, 4]  # 28 heads, and a vocabulary of 2,376 x 64 rows
    assert able["Falcon-7B"] == []
    assert able["DeepSeek-V3"] == [2, 4, 8]


def _refused(known: Known, cards: int) -> Any:
    return refusals(architecture(known.config), Use(tensor=cards))


@SOME
@given(st.sampled_from(MODELS), st.integers(1, 5))
def test_more_cards_never_hold_more_each(known: Known, power: int) -> None:
    found, weights = both(known.config)
    fewer, more = Use(tensor=2 ** (power - 1)), Use(tensor=2**power)
    if next(refusals(found, more), ""):
        return
    assert card_bytes(weights, found, more, 0) <= card_bytes(weights, found, fewer, 0)
    assert card_bytes(weights, found, more, 0) >= weights.bytes / 2**power * 0.999


@SOME
@given(st.sampled_from(MODELS), st.integers(1, 8))
def test_stages_hold_all_layers_once(known: Known, count: int) -> None:
    layers = architecture(known.config).layers
    held = [layer for stage in stages(layers, count) for layer in stage]
    assert held == list(range(layers))


_PARTS = (
    "model",
    "layers",
    "0",
    "1",
    "7",
    "visual",
    "self_attn",
    "mlp",
    "experts",
    "q_proj",
    "qkv_proj",
    "gate",
    "norm",
)
_NAMES = st.lists(st.sampled_from(_PARTS) | st.text(max_size=6), min_size=1, max_size=6).map(".".join)
_ENDS = st.sampled_from(["weight", "bias", "qweight", "scales", "weight_scale_inv", "up_proj_blocks", "inv_freq", ""])


@SOME
@given(
    st.lists(st.tuples(_NAMES, _ENDS, st.sampled_from(["BF16", "U8", "I32"]), st.integers(0, 99), st.integers(0, 99)))
)
def test_every_byte_of_every_file_is_counted_once(drawn: list[tuple[str, str, str, int, int]]) -> None:
    tensors = [tensor(f"{name}.{end}", dtype, rows, columns) for name, end, dtype, rows, columns in drawn]
    for config in (tiny(), tiny(quantization_config=AWQ), {}):
        read = measured([header(tensors)], architecture(config))
        assert sum(part.bytes for part in read.parts) == sum(one.bytes for one in tensors)
        assert all(part.parameters >= 0 and part.bytes >= 0 for part in read.parts)


def test_nothing_at_all_weighs_nothing() -> None:
    assert measured([], Architecture()).bytes == 0
    assert measured([Header()], Architecture()).parts == ()
    assert computed(Architecture()).bytes == 0


def test_what_a_sum_rests_on_is_said() -> None:
    _, weights = both(tiny(model_type="brand_new", torch_dtype=None))
    assert weights.unsure == (
        "the layers of a brand_new, taken to be like Llama's",
        "the dtype of the weights, taken to be bfloat16",
    )
    odd = both(tiny(quantization_config={"quant_method": "aqlm"}))[1]
    assert odd.unsure == ("the bits of a weight under aqlm, counted as not quantized",)
