"""Does it fit, how many cards does it take, and what would make it fit. The first tests are a person's own notes on
serving Qwen3-32B on workstation cards of 49 GB, with today's figures where the notes had estimates.
"""

from dataclasses import replace
from typing import Any

import pytest
from fit_kit import ADA, GIB, H100, SOME, both, tiny
from hypothesis import given
from hypothesis import strategies as st
from known_models import MODELS, QWEN3_32B, QWEN3_32B_AWQ, QWEN3_32B_FP8, QWEN3_32B_GPTQ, Known

from orchestrator.fit.advice import fewest, fit
from orchestrator.fit.changes import Variant
from orchestrator.fit.layout import layout, length, splits
from orchestrator.fit.model import Architecture, Cards, Change, Figure, Fit, Layout, Seen, Use, Weights
from orchestrator.fit.overhead import activations, overhead, rotary_table
from orchestrator.fit.variants import Candidate, compare, recommended

NOTES = Use(max_model_len=40960, utilization=0.9)
MIB = 1 << 20
BY_NAME = {known.name: known for known in MODELS}


def _fit(config: dict[str, Any], use: Use = NOTES, cards: Cards = ADA, **more: Any) -> Fit:
    return fit(*both(config), cards, use, **more)


def _value(figure: Figure | None) -> float:
    assert figure is not None
    return figure.value


def test_the_model_does_not_fit_one_card() -> None:
    answer = _fit(QWEN3_32B)
    assert answer.verdict == "too large"
    # 65,524,246,528 bytes of weights are 61.0 GiB; the card has 48.0.
    assert answer.why.startswith("weights (61.0 GiB) and what the engine needs beside them (1.9 GiB) are 19.7 GiB more")
    assert _value(answer.needed) == 2
    assert [change.kind for change in answer.changes] == ["cards"]


def test_it_fits_two_cards_tightly() -> None:
    answer = _fit(QWEN3_32B, replace(NOTES, tensor=2))
    assert answer.verdict == "fits"
    # 0.9 x 49,140 MiB, less half of the weights (norms whole), sampling of 256 x 151,936 logits of 22 bytes,
    # 64 x 86 pieces of graph of 180 KiB, 40,960 rotary positions of 128, and 650 MiB of workspaces and buffers.
    norms = 2 * (64 * (2 * 5120 + 2 * 128) + 5120)
    weights = (65_524_246_528 - norms) // 2 + norms
    beside = 256 * 151_936 * 22 + 64 * 86 * 180 * 1024 + 40960 * 128 * 2 + 650 * MIB
    left = int(49140 * MIB * 0.9) - weights - beside
    assert _value(answer.layout.for_kv) == left
    # A block of 16 tokens takes 64 layers x 2 x 4 heads x 128 x 2 bytes x 16 = 2 MiB, a request 2,560 of them.
    blocks = left // (2 * MIB)
    assert _value(answer.layout.concurrency) == blocks / 2560
    assert _value(answer.layout.kv_tokens) == int(blocks / 2560 * 40960)
    assert 2.0 <= blocks / 2560 < 2.5  # no room for a third


def test_three_cards_are_refused() -> None:
    answer = _fit(QWEN3_32B, replace(NOTES, tensor=3))
    assert (answer.verdict, answer.why) == ("refused", "64 attention heads are not divisible by 3")
    assert [change.text for change in answer.changes] == [
        "tensor_parallel_size: 2, on 2 cards",
        "tensor_parallel_size: 1 and pipeline_parallel_size: 3, on 3 cards",
    ]


def test_awq_fits_one_card() -> None:
    answer = _fit(QWEN3_32B_AWQ)
    assert (answer.verdict, _value(answer.needed)) == ("fits", 1)
    assert _value(answer.layout.weights) == 19_325_298_688
    assert _value(answer.layout.longest) == 40960
    # What the task of the notes needs, 4,000 tokens, is served to many at once.
    assert _value(_fit(QWEN3_32B_AWQ, replace(NOTES, max_model_len=4000)).layout.concurrency) > 20


def test_the_context_is_the_models_own_unless_it_is_asked_for() -> None:
    found, _ = both(QWEN3_32B)
    assert length(found, Use()) == 40960
    assert length(found, Use(max_model_len=4096)) == 4096
    stretched = tiny(rope_scaling={"type": "longrope", "original_max_position_embeddings": 64})
    assert length(both(stretched)[0], Use()) == 64


def test_four_checkpoints_side_by_side() -> None:
    configs = {"": QWEN3_32B, "-AWQ": QWEN3_32B_AWQ, "-FP8": QWEN3_32B_FP8, "-GPTQ-Int8": QWEN3_32B_GPTQ}
    candidates = [Candidate(f"Qwen3-32B{name}", *both(config)) for name, config in configs.items()]
    rows = compare(candidates, ADA, NOTES)
    assert {row.candidate.name: row.cards for row in rows} == {
        "Qwen3-32B": 2, "Qwen3-32B-AWQ": 1, "Qwen3-32B-FP8": 1, "Qwen3-32B-GPTQ-Int8": 2,
    }  # fmt: skip
    best, why = recommended(rows, ADA)
    assert best is not None
    assert best.candidate.name == "Qwen3-32B-AWQ"
    assert why == (
        "it takes 1 card, where Qwen3-32B takes 2 and Qwen3-32B-GPTQ-Int8 takes 2; "
        "serves 2.3 requests at once, where Qwen3-32B-FP8 serves 1.0"
    )


def test_a_checkpoint_that_the_card_cannot_run_is_not_recommended() -> None:
    old = replace(ADA, name="A40", capability="8.6")
    candidates = [
        Candidate("plain", *both(QWEN3_32B)),
        Candidate("awq", *both(QWEN3_32B_AWQ), supported=False),
    ]
    best, why = recommended(compare(candidates, old, NOTES), old)
    assert best is not None
    assert (best.candidate.name, why) == ("plain", "it takes 2 cards; A40 cannot run awq")
    alone = replace(old, count=1)
    assert recommended(compare(candidates, alone, NOTES), alone) == (None, "none of them fits 1 card")


def test_of_equals_the_one_with_more_of_each_weight_is_recommended() -> None:
    candidates = [Candidate("eight", *both(QWEN3_32B_FP8)), Candidate("four", *both(QWEN3_32B_AWQ))]
    best, why = recommended(compare(candidates, H100, NOTES), H100)
    assert best is not None
    assert (best.candidate.name, why) == ("eight", "it takes 1 card; keeps more of each weight than four")


def _changes(answer: Fit) -> list[str]:
    return [change.text for change in answer.changes]


def test_what_would_make_room_for_a_whole_request() -> None:
    answer = _fit(QWEN3_32B, Use(max_model_len=40960), replace(H100, count=2))
    assert answer.verdict == "too large"
    assert answer.why.startswith("one request of 40,960 tokens takes 10.0 GiB of KV cache on each card, and ")
    kinds = [change.kind for change in answer.changes]
    assert kinds == ["utilization", "kv_cache_dtype", "tokens", "cards"]
    assert answer.changes[0].text.endswith("where nothing else uses the cards")


def _made(use: Use, change: Change) -> Use:
    tensor, _, pipeline = change.text.partition(" and pipeline_parallel_size: ")
    return {
        "utilization": lambda: replace(use, utilization=float(change.to)),
        "kv_cache_dtype": lambda: replace(use, kv_cache_dtype=change.to),
        "tokens": lambda: replace(use, max_model_len=int(change.to)),
        "cards": lambda: replace(
            use,
            tensor=int(tensor.removeprefix("tensor_parallel_size: ").partition(",")[0]),
            pipeline=int(pipeline.partition(",")[0] or 1),
        ),
    }[change.kind]()


@SOME
@given(
    st.sampled_from(MODELS),
    st.sampled_from([16, 24, 48, 80]),
    st.sampled_from([1, 2, 3, 4, 8]),
    st.sampled_from([0, 4096, 32768]),
)
def test_every_change_that_is_proposed_does_it(known: Known, size: int, tensor: int, tokens: int) -> None:
    found, weights = both(known.config)
    cards, use = Cards(size * GIB, 8, "a card", "8.9"), Use(tensor=tensor, max_model_len=tokens)
    answer = fit(found, weights, cards, use)
    for change in answer.changes:
        if " and " in change.text and change.kind == "tokens":
            continue  # several at once
        tried = layout(found, weights, cards, _made(use, change))
        assert tried.fits
        assert _value(tried.concurrency) >= (2 if answer.verdict == "barely" else 1)


def test_several_changes_at_once_where_none_does_alone() -> None:
    # 61.0 GiB of weights on a card of 66 GiB: only a short context in an eight-bit cache and all of the card is left.
    answer = _fit(QWEN3_32B, NOTES, Cards(68 * GIB, 1, "one", "8.9"))
    assert len(answer.changes) == 1
    assert answer.changes[0].kind == "tokens"
    assert answer.changes[0].text.endswith(", kv_cache_dtype: fp8 and gpu_memory_utilization: 0.95")


def test_eight_bits_are_not_proposed_to_cards_that_do_not_have_them() -> None:
    older = Cards(80 * GIB, 2, "A100", "8.0")
    assert "kv_cache_dtype" not in [change.kind for change in _fit(QWEN3_32B, NOTES, older).changes]


def test_another_variant_is_proposed_when_it_fits() -> None:
    variants = [
        Variant("Qwen/Qwen3-32B-AWQ", *both(QWEN3_32B_AWQ)),
        Variant("no", *both(QWEN3_32B_AWQ), supported=False),
    ]
    answer = _fit(QWEN3_32B, NOTES, replace(ADA, count=1), variants=variants)
    assert _changes(answer) == ["serve Qwen/Qwen3-32B-AWQ: it fits 1 card as asked"]


def test_a_tight_fit_is_told_and_offered_room() -> None:
    answer = _fit(QWEN3_32B_FP8)
    assert (answer.verdict, answer.why) == ("barely", "the KV cache holds 1.00 requests of 40,960 tokens at once")
    assert _changes(answer) == [
        "kv_cache_dtype: fp8, which halves the KV cache", "max_model_len: 20480", "tensor_parallel_size: 2, on 2 cards",
    ]  # fmt: skip


def test_more_cards_than_there_are_is_no_answer() -> None:
    answer = _fit(QWEN3_32B, replace(NOTES, tensor=4), replace(ADA, count=2))
    assert (answer.verdict, answer.why) == ("too large", "4 cards are asked for, and there are 2")


def test_what_cannot_be_said_is_not_guessed() -> None:
    unknown = fit(Architecture(unknown=("num_hidden_layers",)), Weights((), "computed", "x"), ADA, Use())
    assert (unknown.verdict, unknown.why) == ("unknown", "config.json does not tell num_hidden_layers")
    endless = {key: value for key, value in tiny().items() if key != "max_position_embeddings"}
    assert _fit(endless, Use()).verdict == "unknown"
    assert _fit(endless, Use(max_model_len=128)).verdict == "fits"
    for name in ("hidden_size", "num_attention_heads"):
        for nothing in (None, 0, "wide"):
            lacks = _fit({**tiny(), name: nothing}, Use(max_model_len=128))
            assert (lacks.verdict, lacks.why) == ("unknown", f"config.json does not tell {name}")


def test_on_a_cpu_only_the_space_for_the_cache_counts() -> None:
    # VLLM_CPU_KVCACHE_SPACE=1, as tests/recorded/vllm-0.32-cpu-ready.log has it: 2,097,152 tokens, 8192.00x of 256.
    answer = _fit(tiny(), Use(max_model_len=256), Cards(GIB, cpu=True))
    assert (answer.verdict, answer.layout.overhead) == ("fits", ())
    assert _value(answer.layout.kv_tokens) == 2_097_152
    assert _value(answer.layout.concurrency) == 8192


def test_activations_are_those_of_the_larger_moment() -> None:
    found, _ = both(QWEN3_32B)
    sampling = activations(found, Use(), ADA)
    assert (sampling.value, sampling.formula) == (256 * 151_936 * 22, "256 requests x 151,936 logits x 22 B")
    # One request alone: 2,048 tokens, each of 4 vectors of 5120, 64 + 2 x 8 heads of 128, 3 x 25600, in two bytes.
    forward = activations(found, Use(sequences=1), ADA)
    assert forward.value == 2048 * (4 * 5120 + 80 * 128 + 3 * 25600) * 2
    mixture, _ = both(BY_NAME["Mixtral-8x7B"].config)
    # Two experts a token: 4 x 4096, and for each 4096 + 3 x 14336.
    assert activations(mixture, Use(sequences=1), ADA).value == 2048 * (4 * 4096 + 2 * (4096 + 3 * 14336)) * 2


def test_what_the_engine_needs_beside_weights_and_cache() -> None:
    found, _ = both(BY_NAME["DeepSeek-V2-Lite"].config)
    lines = {line.label: line.figure for line in overhead(found, Use(tensor=2), ADA)}
    assert lines["CUDA graphs"].value == 27 * 86 * 180 * 1024
    assert lines["libraries' workspaces and NCCL's buffers"].value == 650 * MIB
    # 27 layers x 512 x 16 heads of 128 + 128, in two bytes, over two cards
    assert lines["MLA's projections, unfolded"].value == 27 * 512 * 16 * 256 * 2 // 2
    assert lines["rotary positions"].value == 163840 * 64 * 2
    assert {figure.how for figure in lines.values()} == {"assumed", "computed"}
    eager = [line.label for line in overhead(found, Use(eager=True), ADA)]
    assert "CUDA graphs" not in eager
    assert len(eager) == len(lines) - 1


def test_what_loading_took_as_an_engine_reported() -> None:
    # Llama-3.1-8B-Instruct: "Model loading took 14.9889 GiB"; weights of 14.957 GiB, 131,072 positions of 128.
    found, weights = both(BY_NAME["Llama-3.1-8B"].config)
    rotary = rotary_table(found, Use())
    assert _value(rotary) == 131_072 * 128 * 2
    assert (weights.bytes + _value(rotary)) / GIB == pytest.approx(14.9889, abs=0.001)


def test_only_rotary_models_have_rotary_positions() -> None:
    gpt2 = tiny(model_type="gpt2", n_positions=1024)
    assert rotary_table(both(gpt2)[0], Use()) is None
    half = both(tiny(partial_rotary_factor=0.5))[0]
    assert _value(rotary_table(half, Use())) == 256 * 16 * 2


def test_what_an_engine_reported_takes_the_place_of_assumptions() -> None:
    seen = Seen(3 * GIB, "the start of 12 May")
    answer = _fit(QWEN3_32B_AWQ, NOTES, seen=seen)
    assert [(line.figure.value, line.figure.how) for line in answer.layout.overhead] == [(3 * GIB, "measured")]
    assert _value(answer.layout.for_kv) == int(49140 * MIB * 0.9) - 19_325_298_688 - 3 * GIB


def test_every_figure_says_where_it_is_from() -> None:
    for known in MODELS:
        answer = _fit(known.config, Use(tensor=1), H100)
        for figure in _figures(answer.layout):
            assert figure.source or figure.formula


def _figures(held: Layout) -> list[Figure]:
    named = [held.weights, held.kv_per_token, held.for_kv, held.request, held.kv_tokens, held.concurrency, held.longest]
    return [figure for figure in named if figure] + [line.figure for line in held.overhead]


def test_the_tightest_stage_counts() -> None:
    # Stages of 21, 22 and 21 layers. The ends weigh more, by 1.6 GB of vocabulary each less a layer of 1.0 GB; but the
    # middle one keeps the cache of one layer more, and has room for fewer blocks.
    found, weights = both(QWEN3_32B)
    held = layout(found, weights, ADA, replace(NOTES, pipeline=3))
    layer = 2 * (2 * 5120 * 8192 + 2 * 5120 * 1024 + 3 * 5120 * 25600 + 2 * 5120 + 2 * 128)
    assert _value(held.weights) == 22 * layer + 5120 * 2
    beside = 256 * 151_936 * 22 + 64 * 86 * 180 * 1024 // 3 + 40960 * 128 * 2 + 650 * MIB
    left = int(49140 * MIB * 0.9) - 22 * layer - 5120 * 2 - beside
    assert _value(held.kv_tokens) == int(left // (22 * 2 * 8 * 128 * 2 * 16) / 2560 * 40960)


def test_ways_to_use_so_many_cards() -> None:
    assert list(splits(8)) == [(8, 1), (4, 2)]
    assert list(splits(12)) == [(12, 1), (6, 2), (4, 3)]
    assert list(splits(1)) == [(1, 1)]


def test_the_fewest_cards() -> None:
    takes = {}
    for name in ("Qwen3-8B", "Llama-3.1-70B", "Mixtral-8x7B", "DeepSeek-V3", "gpt-oss-20b"):
        least = fewest(*both(BY_NAME[name].config), H100, Use(max_model_len=8192))
        assert least is not None
        takes[name] = (least.tensor, least.pipeline)
    assert takes == {
        "Qwen3-8B": (1, 1),
        "Llama-3.1-70B": (2, 1),
        "Mixtral-8x7B": (2, 1),
        "DeepSeek-V3": (4, 3),
        "gpt-oss-20b": (1, 1),
    }
    assert fewest(*both(BY_NAME["Llama-3.1-405B"].config), Cards(2 * GIB), Use()) is None


_MODELS = st.sampled_from(MODELS)
_CARDS = st.sampled_from([Cards(size * GIB, 8) for size in (8, 16, 24, 48, 80, 141)])
_USES = st.builds(
    Use, tensor=st.sampled_from([1, 2, 4, 8]), max_model_len=st.integers(1, 200_000),
    utilization=st.floats(0.3, 1.0), kv_cache_dtype=st.sampled_from(["auto", "fp8"]),
)  # fmt: skip


@SOME
@given(_MODELS, _CARDS, _USES, st.integers(1, 100_000))
def test_a_longer_context_never_fits_where_a_shorter_did_not(known: Known, cards: Cards, use: Use, more: int) -> None:
    found, weights = both(known.config)
    longer = layout(found, weights, cards, replace(use, max_model_len=use.max_model_len + more))
    assert not longer.fits or layout(found, weights, cards, use).fits


@SOME
@given(_MODELS, _CARDS, _USES, st.floats(0, 0.5))
def test_more_of_a_card_never_fits_less(known: Known, cards: Cards, use: Use, more: float) -> None:
    found, weights = both(known.config)
    wider = layout(found, weights, cards, replace(use, utilization=min(1.0, use.utilization + more)))
    narrow = layout(found, weights, cards, use)
    assert wider.fits or not narrow.fits


@SOME
@given(_MODELS, _CARDS, _USES)
def test_twice_the_cards_never_hold_more_each_nor_keep_fewer_tokens(known: Known, cards: Cards, use: Use) -> None:
    found, weights = both(known.config)
    few, many = (layout(found, weights, cards, replace(use, tensor=use.tensor * times)) for times in (1, 2))
    if few.refused or many.refused:
        return
    assert _value(many.weights) <= _value(few.weights)
    if use.tensor > 1:  # from one card to two, NCCL's buffers are new
        assert _value(many.for_kv) >= _value(few.for_kv)


@SOME
@given(_MODELS, _CARDS, _USES)
def test_the_parts_add_up(known: Known, cards: Cards, use: Use) -> None:
    found, weights = both(known.config)
    held = layout(found, weights, cards, use)
    if held.refused:
        return
    beside = sum(line.figure.value for line in held.overhead)
    assert _value(held.weights) + beside + _value(held.for_kv) == int(cards.memory * use.utilization)
    assert held.fits == (_value(held.longest) >= use.max_model_len)


@SOME
@given(_MODELS, _CARDS)
def test_the_cards_that_are_needed_do_it_and_fewer_do_not(known: Known, cards: Cards) -> None:
    found, weights = both(known.config)
    use = Use(max_model_len=2048)
    least = fewest(found, weights, cards, use)
    if least is None:
        return
    assert layout(found, weights, cards, replace(use, tensor=least.tensor, pipeline=least.pipeline)).fits
    for count in range(1, least.cards):
        for tensor, pipeline in splits(count):
            assert not layout(found, weights, cards, replace(use, tensor=tensor, pipeline=pipeline)).fits


@pytest.mark.parametrize("known", MODELS, ids=lambda known: known.name)
def test_every_known_model_gets_an_answer(known: Known) -> None:
    answer = _fit(known.config, Use(), H100)
    assert answer.verdict in ("fits", "barely", "too large")
    assert answer.needed is not None
    assert len(answer.layouts) == 8
