"""What is known of each version's command line: the shipped files, looking flags up, checking values, comparing."""

import gzip
import itertools
import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine_data import SHIPPED, load, load_all, packed, shipped, shipped_name
from orchestrator.engines import vllm
from orchestrator.engines.changes import diff, history
from orchestrator.engines.knowledge import Bounds, Engine, Flag, read
from orchestrator.engines.values import check_value, human_int
from orchestrator.engines.versions import nearest, order

FILES = shipped()
MINORS = [f"0.{minor}" for minor in range(10, 34)]
EVERY = sorted(FILES, key=order)


@cache
def engine(version: str) -> Engine:
    found = load(FILES[version])
    assert found is not None
    return found


@cache
def every() -> list[Engine]:
    return load_all(FILES)


def flag(version: str, name: str) -> Flag:
    found = engine(version).find(name)
    assert found is not None, f"{name} in {version}"
    return found


# ------------------------------------------------------------------------------------------------- the shipped files


@pytest.mark.parametrize("version", EVERY)
def test_every_shipped_file_is_whole(version: str) -> None:
    known = engine(version)
    assert known.version == version
    assert len(known.flags) > 140
    assert len(known.architectures) > 150
    assert "fp8" in known.quantization
    assert known.source
    assert {"model", "tensor-parallel-size", "max-model-len", "quantization", "port"} <= set(known.flags)
    assert [name for name, one in known.flags.items() if one.options and not one.options[0].startswith("-")] == []


@pytest.mark.parametrize("version", EVERY)
def test_a_shipped_file_is_its_document_and_nothing_else(version: str) -> None:
    """No time, no name, no order of the day: made again from the same document, the text is the same."""
    content = gzip.decompress(FILES[version].read_bytes())
    document = json.loads(content)
    assert FILES[version].name == shipped_name(version)
    assert gzip.decompress(packed(document)) == content
    assert packed(document) == packed(dict(reversed(list(document.items()))))
    assert "help" not in {key for one in document["flags"].values() for key in one}


def test_every_minor_version_since_0_10_is_known() -> None:
    assert {".".join(version.split(".")[:2]) for version in FILES} == set(MINORS)


def test_the_shipped_files_are_small() -> None:
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 600_000


@pytest.mark.parametrize("version", EVERY)
def test_a_flags_own_default_is_a_value_that_it_takes(version: str) -> None:
    wrong = {
        name: why
        for name, one in engine(version).flags.items()
        if one.default_known and one.options and one.default not in (None, "", [], False) and one.holds != "list"
        if (why := check_value(one, one.default)) is not None
    }
    assert wrong == {}


@pytest.mark.parametrize("version", EVERY)
def test_every_option_leads_back_to_its_flag(version: str) -> None:
    known = engine(version)
    for one in known.flags.values():
        for option in one.options:
            found = known.find(option)
            assert found is not None
            assert found.name == one.name
            assert known.find(option.lstrip("-").replace("-", "_")) == found


# ---------------------------------------------------------------------------------------------- facts about versions


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("disable_log_requests", "0.16"),
        ("swap_space", "0.17"),
        ("max_seq_len_to_capture", "0.10"),
        ("guided_decoding_backend", "0.11"),
        ("task", "0.12"),
        ("num_lookahead_slots", "0.11"),
    ],
)
def test_flags_of_old_scripts_are_gone_and_were_there(name: str, last: str) -> None:
    assert engine("0.32.0").find(name) is None
    told = history(name, [one for one in every() if order(one.version) <= order("0.32.0")])
    assert told is not None
    assert told.added == ""
    assert told.last_in.startswith(last + ".")
    assert order(told.removed) > order(told.last_in)


@pytest.mark.parametrize(
    ("name", "added"),
    [("attention_backend", "0.13"), ("shutdown_timeout", "0.18"), ("structured_outputs_config", "0.11")],
)
def test_flags_came_at_some_version(name: str, added: str) -> None:
    told = history(name, every())
    assert told is not None
    assert told.added.startswith(added + ".")
    assert told.removed == ""


def test_a_flag_that_came_back_was_removed_for_the_versions_between() -> None:
    """0.33 takes `--disable-x` for every `--no-enable-x`, and so what 0.17 had dropped."""
    told = history("disable_log_requests", every())
    assert told is not None
    assert told.removed == ""
    assert flag("0.33.0", "disable_log_requests").dest == "enable_log_requests"


def test_a_flag_that_never_was_has_no_history() -> None:
    assert history("no_such_flag", every()) is None


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("gpu_memory_utilization", "over 0 and at most 1"),
        ("max_model_len", "at least -1"),
        ("tensor_parallel_size", "at least 1"),
        ("pipeline_parallel_size", "at least 1"),
        ("block_size", "over 0"),
    ],
)
def test_bounds_of_the_config_classes(name: str, bounds: str) -> None:
    assert str(flag("0.32.0", name).bounds) == bounds


def test_memory_share_is_what_this_version_takes_by_default() -> None:
    assert flag("0.32.0", "gpu_memory_utilization").default == vllm.MEMORY_SHARE
    assert flag("0.19.1", "gpu_memory_utilization").default == 0.9


def test_choices_of_the_registries() -> None:
    methods = flag("0.32.0", "quantization")
    assert {"awq_marlin", "fp8", "gptq_marlin", "compressed-tensors", "modelopt_fp4"} <= set(methods.choices)
    assert methods.open == "plugin"
    assert {"hermes", "mistral"} <= set(flag("0.32.0", "tool_call_parser").choices)
    assert "deepseek_r1" in flag("0.32.0", "reasoning_parser").choices
    assert {"safetensors", "auto", "dummy"} <= set(flag("0.32.0", "load_format").choices)
    assert "FLASH_ATTN" in flag("0.32.0", "attention_backend").choices
    assert {"fp8", "fp8_e5m2"} <= set(flag("0.32.0", "kv_cache_dtype").choices)


@pytest.mark.parametrize(
    ("version", "method", "capability"),
    [("0.32.0", "fp8", 75), ("0.32.0", "awq_marlin", 75), ("0.10.2", "awq_marlin", 80), ("0.10.2", "bitsandbytes", 70)],
)
def test_the_least_compute_capability_of_a_method(version: str, method: str, capability: int) -> None:
    assert engine(version).quantization[method] == capability


def test_deprecated_flags_say_when_they_go_and_what_to_use() -> None:
    old = flag("0.32.0", "log_config_file")
    assert old.deprecated
    assert (old.removed_in, old.instead) == ("0.33.0", ("--logging-config.pylogging_config_file",))
    assert not flag("0.32.0", "allow_deprecated_quantization").deprecated
    assert not flag("0.32.0", "max_model_len").deprecated


def test_models_that_a_version_serves() -> None:
    assert "Qwen3ForCausalLM" in engine("0.10.2").architectures
    assert "Qwen3NextForCausalLM" not in engine("0.10.0").architectures
    assert "Qwen3NextForCausalLM" in engine("0.32.0").architectures


# ----------------------------------------------------------------------------------------------------- looking it up


@pytest.mark.parametrize(
    "word",
    ["tensor_parallel_size", "tensor-parallel-size", "--tensor-parallel-size", "-tp", "tp", "--tensor_parallel_size"],
)
def test_a_flag_is_found_by_any_of_its_names(word: str) -> None:
    assert flag("0.32.0", word).name == "tensor-parallel-size"


@pytest.mark.parametrize(
    "word", ["", "--", "-", "nonsense", "tensor parallel size", "model_tag", ".", "seed.x", "no_seed"]
)
def test_what_is_no_flag_is_not_found(word: str) -> None:
    assert engine("0.32.0").find(word) is None


def test_an_alias_is_its_flag() -> None:
    assert flag("0.32.0", "device_memory_utilization").name == "gpu-memory-utilization"


def test_a_negation_is_a_flag_of_its_own() -> None:
    assert flag("0.32.0", "no_enable_prefix_caching").type == "bool"
    assert check_value(flag("0.32.0", "no_enable_prefix_caching"), True) is None
    assert check_value(flag("0.32.0", "no_enable_prefix_caching"), False) is not None
    assert engine("0.32.0").find("disable_prefix_caching") is None
    assert flag("0.33.0", "disable_prefix_caching").type == "bool"


def test_a_key_of_a_mapping_is_found_through_its_flag() -> None:
    assert flag("0.32.0", "compilation_config.cudagraph_mode").choices
    assert flag("0.32.0", "speculative-config.num_speculative_tokens").bounds == Bounds(over=0)
    assert engine("0.32.0").find("compilation_config.nonsense") is None
    assert flag("0.32.0", "additional_config.anything").type == ""


def test_the_parser_takes_a_beginning_that_fits_one_flag_only() -> None:
    known = engine("0.32.0")
    assert known.abbreviated("tensor_parallel") == flag("0.32.0", "tensor_parallel_size")
    assert known.abbreviated("max") is None
    assert known.abbreviated("nonsense") is None


def test_a_dest_is_found_apart_from_the_options() -> None:
    one = Flag("disable-log", ("--disable-log",), "enable_log", "bool")
    known = Engine("1", {"disable-log": one})
    assert known.by_dest("enable_log") == one
    assert known.find("enable_log") is None


# --------------------------------------------------------------------------------------------------- checking values

LATEST = "0.32.0"


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("quantization", "nonsense", "cannot be nonsense: this version knows 30 others"),
        ("quantization", "awq_marlim", "cannot be awq_marlim: did you mean awq_marlin?"),
        ("max_model_len", -5, "must be at least -1, not -5"),
        ("max_model_len", "4.5K", "needs a whole number such as 4096 or 4k, or auto, not 4.5K"),
        ("max_model_len", 4096.0, "needs a whole number such as 4096 or 4k, or auto, not 4096.0"),
        ("gpu_memory_utilization", 1.7, "must be over 0 and at most 1, not 1.7"),
        ("gpu_memory_utilization", 0, "must be over 0 and at most 1, not 0"),
        ("gpu_memory_utilization", "half", "needs a number, not half"),
        ("tensor_parallel_size", 0, "must be at least 1, not 0"),
        ("tensor_parallel_size", "two", "needs a whole number, not two"),
        ("tensor_parallel_size", True, "needs a whole number, not true"),
        ("tensor_parallel_size", {"a": 1}, "needs a whole number, not a mapping"),
        ("tensor_parallel_size", [1, 2], "takes 1 value, not 2"),
        ("enforce_eager", "yes", "takes no value: write true or false, not yes"),
        ("enforce_eager", 1, "takes no value: write true or false, not 1"),
        ("headless", False, "can only be true: this version has no flag that turns it off"),
        ("dtype", "bf16", "cannot be bf16: it takes auto, bfloat16, float, float16, float32 or half"),
        ("max_lora_rank", 20, "cannot be 20: it takes 1, 8, 16, 32, 64, 128, 256, 320 or 512"),
        ("attention_backend", "flashatn", "cannot be flashatn: did you mean FLASH_ATTN?"),
        ("distributed_executor_backend", "rey", "cannot be rey: it takes external_launcher, mp, ray or uni"),
        ("served_model_name", [], "takes at least 1 value, not 0"),
        ("cudagraph_capture_sizes", [1, "x"], "needs a list, each a whole number, not x"),
        ("allowed_origins", ["*"], "needs its list as JSON in one text: '[...]'"),
        ("compilation_config", {"mod": 3}, "has no key mod: did you mean mode?"),
        ("kv_transfer_config.kv_role", 9, "cannot be 9: it takes kv_both, kv_consumer or kv_producer"),
        ("compilation_config", "{mode", "needs JSON, not {mode"),
        ("compilation_config", 3, "needs a mapping, not 3"),
        ("speculative_config", {"method": "ngrm"}, "method: cannot be ngrm: did you mean ngram?"),
        ("speculative_config", {"num_speculative_tokens": 0}, "num_speculative_tokens: must be over 0, not 0"),
        ("speculative_config", '{"num_speculative_tokens": 0}', "num_speculative_tokens: must be over 0, not 0"),
        ("seed", "", "needs a whole number, not an empty text"),
    ],
)
def test_a_value_that_the_engine_would_refuse_is_told_why(name: str, value: Any, why: str) -> None:
    assert check_value(flag(LATEST, name), value) == why


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quantization", "awq_marlin"),
        ("quantization", "AWQ_MARLIN"),
        ("quantization", "None"),
        ("max_model_len", 40960),
        ("max_model_len", "40k"),
        ("max_model_len", "auto"),
        ("max_model_len", -1),
        ("gpu_memory_utilization", 1),
        ("gpu_memory_utilization", "0.5"),
        ("gpu_memory_utilization", 0.5),
        ("enforce_eager", True),
        ("enforce_eager", False),
        ("headless", True),
        ("hf_token", True),
        ("hf_token", "secret"),
        ("attention_backend", "flash_attn"),
        ("attention_backend", "FLASH_ATTN"),
        ("distributed_executor_backend", "my.package.Executor"),
        ("served_model_name", ["a", "b"]),
        ("served_model_name", "a"),
        ("served_model_name", 7),
        ("allowed_origins", '["*"]'),
        ("compilation_config", {"mode": 3, "cudagraph_mode": "FULL"}),
        ("compilation_config", '{"mode": 3}'),
        ("compilation_config", {"mode": None}),
        ("compilation_config.mode", 3),
        ("profiler_config.torch_profiler_with_stack", True),
        ("kv_transfer_config", '{"kv_connector_extra_config": {"bytes": 80m}}'),
        ("lora_modules", [{"name": "a", "path": "/b"}]),
        ("lora_modules", "a=/b"),
        ("hf_overrides", {"rope_scaling": {"type": "yarn"}}),
        ("hf_overrides", "module.function"),
        ("limit_mm_per_prompt", {"image": 2}),
        ("optimization_level", 3),
        ("seed", -1),
        ("seed", None),
        ("max_num_batched_tokens", "8k"),
        ("moe_backend", "flashinfer-trtllm"),
    ],
)
def test_a_value_that_the_engine_takes_is_fine(name: str, value: Any) -> None:
    assert check_value(flag(LATEST, name), value) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *[
            ("4k", 4000),
            ("4K", 4096),
            ("1.5m", 1_500_000),
            ("2M", 2 << 20),
            ("1G", 1 << 30),
            ("25.6k", 25600),
            ("7", 7),
        ],
        *[("1.5M", None), ("k", None), ("", None), ("4 k", None), ("4kb", None), ("-4k", None), ("four", None)],
    ],
)
def test_numbers_in_short_form_are_the_engines(text: str, number: int | None) -> None:
    assert human_int(text) == number


def test_what_is_not_known_is_not_wrong() -> None:
    assert check_value(Flag("new", ("--new",)), {"any": ["thing"]}) is None
    assert check_value(Flag("new", ("--new",)), "x") is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(engine(LATEST).flags)), JSON)
def test_any_value_gets_an_answer_in_one_line(name: str, value: Any) -> None:
    why = check_value(engine(LATEST).flags[name], value)
    assert why is None or (why and not why.startswith(" "))


@given(st.text(max_size=30))
def test_any_text_may_be_looked_up(word: str) -> None:
    found = engine(LATEST).find(word)
    assert found is None or engine(LATEST).find(f"--{word.lstrip('-')}") == found


@given(st.integers(), st.integers(), st.integers())
def test_bounds_hold_what_lies_between_them(least: int, most: int, value: int) -> None:
    assert Bounds(least=least, most=most).hold(value) == (least <= value <= most)
    assert Bounds(over=least, under=most).hold(value) == (least < value < most)
    assert Bounds().hold(value)


# ---------------------------------------------------------------------------------------------------------- versions

IN_ORDER = [
    "nonsense",
    "0.9.2",
    "0.10.0.dev3",
    "0.10.0a1",
    "0.10.0rc1.dev2",
    "0.10.0rc1",
    "0.10.0rc10",
    "0.10.0",
    "0.10.0.post1.dev1",
    "0.10.0.post1",
    "0.10.1",
    "0.10.1.1",
    "0.32.0",
    "1",
]


@pytest.mark.parametrize(("older", "newer"), list(itertools.pairwise(IN_ORDER)))
def test_versions_are_ordered_as_pip_orders_them(older: str, newer: str) -> None:
    assert order(older) < order(newer)


@pytest.mark.parametrize(
    ("one", "same"), [("0.32.0", "0.32.0+cpu"), ("0.32.0", "v0.32"), ("1.0", "1"), ("0.10.0.RC1", "0.10.0-rc.1")]
)
def test_these_are_one_version(one: str, same: str) -> None:
    assert order(one) == order(same)


KNOWN = ["0.33.0", "0.10.0", "0.31.0", "0.12.0", "0.31.2"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("0.31.0", "0.31.0"),
        ("0.31.0+cpu", "0.31.0"),
        ("0.31.1", "0.31.0"),
        ("0.31.3.dev12+gabcdef", "0.31.2"),
        ("0.30.4", "0.12.0"),
        ("0.33.0rc1", "0.33.0"),
        ("0.31.0rc2", "0.31.0"),
        ("0.40.0", "0.33.0"),
        ("0.9.2", "0.10.0"),
        ("", "0.33.0"),
        ("main", "0.33.0"),
    ],
)
def test_the_nearest_version_stands_in(wanted: str, found: str) -> None:
    assert nearest(wanted, KNOWN) == found
    assert nearest(wanted, sorted(KNOWN)) == found


def test_nothing_is_near_where_nothing_is_known() -> None:
    assert nearest("0.32.0", []) is None


@given(st.sampled_from(EVERY))
def test_a_version_that_is_known_stands_in_for_itself(version: str) -> None:
    assert nearest(version, EVERY) == version


# ------------------------------------------------------------------------------------------------------- comparing


def test_a_version_does_not_differ_from_itself() -> None:
    same = diff(engine(LATEST), engine(LATEST))
    assert (same.added, same.removed, same.changed) == ((), (), {})


def test_what_one_version_added_the_way_back_removes() -> None:
    there, back = diff(engine("0.31.0"), engine(LATEST)), diff(engine(LATEST), engine("0.31.0"))
    assert (there.added, there.removed) == (back.removed, back.added)
    assert set(there.changed) == set(back.changed)


def test_a_change_names_its_aspect() -> None:
    found = diff(engine("0.19.1"), engine("0.20.0")).changed["gpu-memory-utilization"]
    assert [(one.aspect, one.old, one.new) for one in found] == [("default", {"value": 0.9}, {"value": 0.92})]


def test_keys_of_a_mapping_are_compared_as_well() -> None:
    before = Flag("a", ("--a",), type="json", fields={"x": Flag("x", type="int"), "y": Flag("y")})
    after = Flag("a", ("--a",), type="json", fields={"x": Flag("x", type="str"), "z": Flag("z")})
    found = diff(Engine("1", {"a": before}), Engine("2", {"a": after}))
    assert (found.added, found.removed) == (("a.z",), ("a.y",))
    assert [one.aspect for one in found.changed["a.x"]] == ["type"]


def test_a_flag_that_became_an_alias_is_not_removed() -> None:
    old = Engine("1", {"a": Flag("a", ("--a",))})
    new = Engine("2", {"b": Flag("b", ("--b", "--a"))})
    found = diff(old, new)
    assert (found.added, found.removed) == (("b",), ())
    assert [one.aspect for one in found.changed["a"]] == ["options"]


def test_a_flag_that_comes_back_is_not_removed() -> None:
    with_it, without = {"a": Flag("a", ("--a",))}, {"b": Flag("b", ("--b",))}
    told = history("a", [Engine("3", with_it), Engine("1", with_it), Engine("2", without)])
    assert told is not None
    assert (told.added, told.removed, told.last_in) == ("", "", "3")


# ---------------------------------------------------------------------------------------------------------- documents


@pytest.mark.parametrize(
    "document",
    [
        *[None, 1, "x", [], {}, {"schema": 99}, {"schema": 1}, {"schema": 1, "version": "1", "flags": {"a": 1}}],
        *[{"schema": 1, "why": "no parser"}, {"schema": 1, "version": "1", "flags": [], "quantization": {}}],
    ],
)
def test_what_is_no_document_is_not_read(document: Any) -> None:
    assert read(document) is None


@given(JSON)
def test_no_document_breaks_the_reader(document: Any) -> None:
    flags = {"schema": 1, "version": "1", "quantization": {}, "architectures": [], "unread": [], "flags": document}
    assert read(document) is None or isinstance(document, dict)
    assert read(flags) is None or isinstance(document, dict)
