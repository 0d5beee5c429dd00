"""What the arithmetic says against a start, how surely, and what a plan makes of it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import golden
import pytest
from builders import NOW, remembered, running, seen, wanted
from fakes.model_files import write_model
from fit_kit import ADA, GIB, both, tiny
from known_models import QWEN3_32B

from orchestrator import fitting
from orchestrator.errors import OrchError, Unfit
from orchestrator.fit.advice import fit, smallest
from orchestrator.fit.description import Description
from orchestrator.fit.known import model_of
from orchestrator.fit.model import Cards, Fit, Seen, Tower, Use
from orchestrator.fit.preflight import Objection, objection
from orchestrator.learning import estimate
from orchestrator.learning import seen as learnt
from orchestrator.model import Deployment, ModelRef, Observed, Revision, RuntimeSpec, Serve, Spec
from orchestrator.plan import Plan, Reason
from orchestrator.reconcile import Options, reconcile
from orchestrator.render import plan_text
from orchestrator.resolve import as_before

MIB = 1 << 20
CARD = Cards(49140 * MIB, count=4, name="RTX 6000 Ada", capability="8.9")


def answer(config: Any = QWEN3_32B, cards: Cards = ADA, learned: Seen | None = None, **use: Any) -> Fit:
    return fit(*both(config), cards, Use(**{"utilization": 0.9} | use), seen=learned)


def said(found: Fit, *uncounted: str) -> Objection:
    one = objection(found, uncounted)
    assert one is not None
    return one


# ---------------------------------------------------------------------------------------------------- how surely


def test_what_fits_is_not_spoken_against() -> None:
    assert objection(answer(tensor=2)) is None


def test_of_what_is_not_known_nothing_is_said() -> None:
    assert objection(answer({"model_type": "qwen3"})) is None


def test_too_few_cards_are_for_whoever_places_it() -> None:
    assert objection(answer(tensor=8)) is None


def test_weights_larger_than_the_card_are_certain() -> None:
    one = said(answer())
    assert (one.code, one.certain, one.path) == ("does-not-fit", True, ("serve", "tensor_parallel_size"))
    assert one.do == "set tensor_parallel_size: 2, on 2 cards"


def test_what_is_over_by_less_than_half_of_what_is_assumed_is_not() -> None:
    """Of two cards 0.74 x 49,140 are 36,363 MiB. Half of the weights is 31,245, and 2,444 are reckoned beside them, of
    which 10 are computed: left are 2,674, and a request of 40,960 tokens takes 5,120 + 2 of a spare block. With half of
    the 2,434 assumed there are 3,891: too little all the same. At 0.78 it is 38,329: 4,640, and with half 5,857.
    At 0.79 it is 38,821, with 5,132 left."""
    assert said(answer(tensor=2, utilization=0.74)).certain
    one = said(answer(tensor=2, utilization=0.78))
    assert (one.code, one.certain) == ("does-not-fit", False)
    assert one.told.startswith("it may not fit: one request of 40,960 tokens takes 5.0 GiB of KV cache on each card")
    assert one.do == "set gpu_memory_utilization: 0.79, where nothing else uses the cards"


def test_what_an_engine_reported_once_is_halved_as_well() -> None:
    """It was set otherwise, maybe. 38,329 - 31,245 - 3,000 leave 4,084 MiB; with half of those 5,584."""
    reported = Seen(3000 * MIB, "a start")
    assert not said(answer(tensor=2, utilization=0.78, learned=reported)).certain


def test_flags_that_the_sum_does_not_know_make_it_a_guess() -> None:
    assert not said(answer(), "cpu_offload_gb").certain


def test_weights_of_an_unknown_kind_of_model_are_a_guess() -> None:
    assert not said(answer({**QWEN3_32B, "model_type": "homemade"})).certain


def test_what_may_be_less_than_it_is_counted_for_is_a_guess() -> None:
    """A quantization that the sum has no size for, a cache likewise; a tower that more than one card may share."""
    assert said(answer(quantization="fp8", cards=CARD, max_model_len=900_000)).certain
    assert not said(answer(quantization="torchao")).certain
    assert not said(answer(kv_cache_dtype="turboquant_3bit_nc")).certain
    assert not said(answer(kv_cache_dtype="nvfp4_ds_mla")).certain
    known = model_of(Description("", texts={"config.json": QWEN3_32B}))
    found = fit(replace(known[0], towers=(Tower("vision", 1),)), known[1], ADA, Use(utilization=0.5, tensor=2))
    assert (found.verdict, said(found).certain) == ("too large", False)


def test_heads_that_do_not_divide_are_certain() -> None:
    one = said(answer(tensor=3))
    assert (one.certain, one.path) == (True, ("serve", "tensor_parallel_size"))
    assert one.why == "64 attention heads are not divisible by 3"
    assert not said(answer(tensor=3), "hf_overrides").certain


def test_room_for_one_request_and_no_second_is_tight() -> None:
    one = said(answer(tensor=2, utilization=0.86))
    assert (one.code, one.certain) == ("fits-barely", False)
    assert one.told == "it fits barely: the KV cache holds 1.67 requests of 40,960 tokens at once"


def test_a_processor_has_what_it_was_given() -> None:
    """A token takes 2 layers x 2 x 2 heads x 32 x 2 bytes = 512; a block of 128 of them 64 KiB, a request of 65,536
    tokens 512 blocks: 32 MiB, and a block is the engine's own."""
    config = tiny(max_position_embeddings=65536)
    assert objection(answer(config, Cards(64 * MIB + 64 * 1024, cpu=True))) is None
    one = said(answer(config, Cards(32 * MIB, cpu=True)))
    assert (one.code, one.certain, one.path) == ("does-not-fit", True, ("serve", "max_model_len"))


# ------------------------------------------------------------------------------------------------- what a plan says

Q = wanted(repo="Qwen/Qwen3-32B", gpu_memory_utilization=0.9)
BEFORE = wanted(repo="Qwen/Qwen3-8B", gpu_memory_utilization=0.9)
THREE = wanted(repo="Qwen/Qwen3-32B", tensor_parallel_size=3)
CLOSE = wanted(repo="Qwen/Qwen3-32B", gpu_memory_utilization=0.78, tensor_parallel_size=2)
TIGHT = wanted(repo="Qwen/Qwen3-32B", gpu_memory_utilization=0.86, tensor_parallel_size=2)


def world(found: Fit, *, record: bool = True, **more: Any) -> Observed:
    up, known = ([running(BEFORE)], [remembered(BEFORE)]) if record else ([], [])
    return replace(seen(up, known), fits={"qwen": found}, **more)


def shown(plan: Plan | OrchError) -> str:
    return str(plan) if isinstance(plan, OrchError) else plan_text(plan, "lab")


def refusal(one: Deployment, at: Observed) -> Unfit:
    with pytest.raises(Unfit) as caught:
        reconcile([one], at)
    return caught.value


CASES = {
    "too-large": lambda: refusal(Q, world(answer())),
    "heads": lambda: refusal(THREE, world(answer(tensor=3))),
    "barely": lambda: reconcile([TIGHT], world(answer(tensor=2, utilization=0.86))),
    "uncertain": lambda: reconcile([CLOSE], world(answer(tensor=2, utilization=0.78))),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_text_of(name: str) -> None:
    golden.check("fits", name, shown(CASES[name]()))


def test_every_text_is_of_a_case() -> None:
    assert golden.unused("fits", set(CASES)) == set()


def test_the_refusal_names_its_place_and_is_final() -> None:
    error = refusal(Q, world(answer(), record=False))
    assert (error.at, error.code, error.final) == ("profiles/qwen.yaml", "does-not-fit", True)


def test_whoever_knows_better_is_warned() -> None:
    trusting = replace(Q, policy=replace(Q.policy, fit="warn"))
    (warning,) = reconcile([trusting], world(answer())).warnings
    assert warning.startswith("qwen: it may not fit: weights (61.0 GiB)")


def test_what_serves_is_left_alone() -> None:
    at = replace(seen([running(Q)], [remembered(Q)]), fits={"qwen": answer()})
    assert reconcile([Q], at).empty


def test_what_became_ready_once_has_shown_that_it_fits() -> None:
    at = replace(seen([], [remembered(Q)]), fits={"qwen": answer()})
    assert reconcile([Q], at).warnings == ()


@pytest.mark.parametrize(
    ("changed", "proven"),
    [
        ({"port": 9999}, True), ({"names": ("other",)}, True), ({"max_model_len": 8192}, False),
        ({"gpu_memory_utilization": 0.8}, False), ({"args": {"max_num_seqs": 8}}, False), ({"repo": "o/n"}, False),
    ],
)  # fmt: skip
def test_what_takes_as_much_as_what_became_ready_fits_as_well(changed: dict[str, Any], proven: bool) -> None:
    before = wanted(**{"repo": "Qwen/Qwen3-32B", "gpu_memory_utilization": 0.9} | changed)
    at = replace(seen([running(before)], [remembered(before)]), fits={"qwen": answer()})
    if proven:
        assert reconcile([Q], at).warnings == ()
    else:
        assert refusal(Q, at).code == "does-not-fit"


def test_what_is_pinned_or_brought_back_served_before() -> None:
    assert reconcile([replace(Q, pinned=1)], world(answer())).warnings == ()
    assert reconcile([Q], world(answer()), Options(reason=Reason.ROLLBACK)).warnings == ()


# ------------------------------------------------------------------------------------------------------ what is learnt


def told(of: Deployment, number: int = 1, at: float = NOW, **fields: Any) -> Revision:
    given: Mapping[str, float] = {"weights": 30.52 * GIB, "kv_cache": 9.5 * GIB, "kv_cache_tokens": 77_824.0}
    return Revision(number, "", of, at, measured=given, **fields)


PAIR = wanted(repo="Qwen/Qwen3-32B", gpu_memory_utilization=0.9, tensor_parallel_size=2)
USE = Use(tensor=2, utilization=0.9)


def test_what_an_engine_took_beside_weights_and_cache() -> None:
    """0.9 of 49,140 MiB are 44,226 MiB = 43.19 GiB; less 30.52 and 9.5 that is 3.17 GiB."""
    found = learnt(PAIR, USE, CARD, [told(PAIR)])
    assert found is not None
    assert found.overhead == round(49140 * MIB * 0.9 - 40.02 * GIB)
    assert found.overhead / GIB == pytest.approx(3.17, abs=0.01)
    assert found.source == "what qwen reported as revision 1"


def test_the_next_sum_comes_out_as_the_engine_had_it() -> None:
    """Whatever the weights were reckoned to take, what was left for the cache is what the engine said."""
    first = answer(tensor=2)
    past = told(PAIR, estimate=estimate(first))
    again = answer(tensor=2, learned=learnt(PAIR, USE, CARD, [past]))
    assert again.layout.for_kv is not None
    assert again.layout.for_kv.value == pytest.approx(9.5 * GIB, abs=2)


@pytest.mark.parametrize(
    "changed",
    [
        {"tensor_parallel_size": 4},
        {"repo": "Qwen/Qwen3-14B"},
        {"args": {"enforce_eager": True}},
        {"args": {"max_num_seqs": 8}},
        {"quantization": "fp8"},
    ],
)
def test_another_model_or_another_way_to_start_it_teaches_nothing(changed: dict[str, Any]) -> None:
    base = {"repo": "Qwen/Qwen3-32B", "gpu_memory_utilization": 0.9, "tensor_parallel_size": 2}
    assert learnt(PAIR, USE, CARD, [told(wanted(**base | changed))]) is None


def test_another_context_and_another_share_teach_as_well() -> None:
    other = wanted(repo="Qwen/Qwen3-32B", gpu_memory_utilization=0.8, tensor_parallel_size=2, max_model_len=4096)
    found = learnt(PAIR, USE, CARD, [told(other, estimate={"weights": 25 * GIB})])
    assert found is not None
    assert found.overhead == round(49140 * MIB * 0.8 - 34.5 * GIB)


def test_its_own_start_comes_before_newer_ones_of_others() -> None:
    other = replace(PAIR, name="other")
    found = learnt(PAIR, USE, CARD, [told(PAIR), told(other, 7, NOW + 60)])
    assert found
    assert found.source == "what qwen reported as revision 1"
    found = learnt(PAIR, USE, CARD, [told(other, 6), told(other, 7, NOW + 60)])
    assert found
    assert found.source == "what other reported as revision 7"


@pytest.mark.parametrize("measured", [{}, {"weights": 30e9}, {"weights": 30e9, "kv_cache": 40e9}, {"kv_cache": 1e9}])
def test_numbers_that_make_no_sum_teach_nothing(measured: dict[str, float]) -> None:
    assert learnt(PAIR, USE, CARD, [replace(told(PAIR), measured=measured)]) is None


def test_a_processor_teaches_nothing() -> None:
    assert learnt(PAIR, USE, Cards(4 * GIB, cpu=True), [told(PAIR)]) is None


def test_the_estimate_has_the_names_of_what_engines_tell() -> None:
    found = estimate(answer(tensor=2))
    assert list(found) == ["weights", "kv_cache", "kv_cache_tokens", "concurrency"]
    # 44,226 MiB less 31,245 and 2,444 are 10,537: 5,268 blocks of 16 tokens, of which a request takes 2,560.
    assert found["kv_cache"] / MIB == pytest.approx(10_537, abs=2)
    assert found["concurrency"] == pytest.approx(5268 / 2560, abs=0.01)
    assert estimate(None) == estimate(answer({})) == estimate(answer(tensor=3)) == {}
    assert "kv_cache" not in estimate(answer(tiny(), Cards(GIB, cpu=True)))


# ---------------------------------------------------------------------------------------- tensor_parallel_size: auto


def fewest(config: Any, cards: Cards = ADA, **use: Any) -> int | None:
    found = smallest(*both(config), cards, Use(**{"utilization": 0.9} | use), lambda _: None)
    return found.tensor if found else None


def test_as_few_cards_as_do() -> None:
    assert fewest(QWEN3_32B) == 2
    assert fewest(tiny()) == 1
    # three do not divide 64 heads
    assert fewest({**QWEN3_32B, "num_hidden_layers": 110}) == 4
    assert fewest({**QWEN3_32B, "num_hidden_layers": 400}) is None
    assert fewest(QWEN3_32B, pipeline=2) == 1


def test_what_was_learnt_counts() -> None:
    """A start on two cards that had no room for a request."""
    found = smallest(
        *both(QWEN3_32B), ADA, Use(utilization=0.9), lambda use: Seen(12 * GIB, "") if use.tensor == 2 else None
    )
    assert found
    assert found.tensor == 4


OPEN = wanted(tensor_parallel_size="auto")


def chosen(known: Spec | None, one: Deployment = OPEN) -> Any:
    return as_before(one, known).spec.serve.tensor_parallel_size


def test_what_runs_keeps_its_number() -> None:
    two = wanted(tensor_parallel_size=2).spec
    assert chosen(two) == 2
    assert chosen(wanted(tensor_parallel_size=2, port=9000, names=("x",)).spec) == 2
    assert chosen(replace(two, commits={"model": "a" * 40})) == 2


@pytest.mark.parametrize(
    "known",
    [
        None,
        OPEN.spec,
        wanted(tensor_parallel_size=2, max_model_len=4096).spec,
        wanted(tensor_parallel_size=2, gpus=("0", "1")).spec,
        wanted(tensor_parallel_size=2, repo="Qwen/Qwen3-8B").spec,
        wanted(tensor_parallel_size=2, args={"max_num_seqs": 4}).spec,
    ],
)
def test_other_inputs_open_it_again(known: Spec | None) -> None:
    assert chosen(known) == "auto"


def test_another_commit_opens_it_again() -> None:
    now = replace(OPEN, spec=replace(OPEN.spec, commits={"model": "b" * 40}))
    assert chosen(wanted(tensor_parallel_size=2, commits={"model": "a" * 40}).spec, now) == "auto"


# ------------------------------------------------------------------------------------------------------ in a hurry


def in_folder(place: Path) -> Description:
    found = fitting.in_folder(Spec(ModelRef(path=str(place)), Serve(), RuntimeSpec("self")))
    assert found
    return found


def test_of_many_files_no_header_is_read_where_config_and_index_say_the_same(tmp_path: Path) -> None:
    found = in_folder(write_model(tmp_path / "whole", shards=40))
    assert (found.files, found.headers) == (40, ())
    assert model_of(found)[1].bytes == found.declared == 65_524_246_528
    assert len(in_folder(write_model(tmp_path / "few", shards=8)).headers) == 8


def test_where_they_differ_the_headers_decide(tmp_path: Path) -> None:
    place = write_model(tmp_path / "odd", shards=40)
    config = {**QWEN3_32B, "intermediate_size": 25_000}
    (place / "config.json").write_text(json.dumps(config))
    assert model_of(in_folder(place))[1].bytes == 65_524_246_528


def test_shards_that_an_index_names_count_though_they_are_not_here(tmp_path: Path) -> None:
    found = in_folder(write_model(tmp_path / "half", shards=8, here=3))
    assert (found.files, len(found.headers), found.complete) == (8, 3, False)
    assert model_of(found)[1].bytes == 65_524_246_528


def test_a_config_beside_the_profile_will_do(tmp_path: Path) -> None:
    (tmp_path / "a.config.json").write_text(json.dumps(QWEN3_32B))
    found = fitting.beside(str(tmp_path / "a.yaml"))
    assert found
    assert model_of(found)[1].bytes == 65_524_246_528
    assert fitting.beside(str(tmp_path / "b.yaml")) is None
    assert fitting.beside("") is None


def test_a_folder_that_says_nothing_is_no_model(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        assert fitting.in_folder(Spec(ModelRef(path=str(path)), Serve(), RuntimeSpec("self"))) is None
