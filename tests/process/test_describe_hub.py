"""Models on the Hub described without a download: a few ranged reads, what is refused, and their relatives."""

import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from caches import Cache
from fakes.hub import Hub
from fetch_kit import FAST, Kit

from orchestrator.errors import HubRefused, HubUnreachable
from orchestrator.hub.child import describe
from orchestrator.hub.child.job import Job, Question
from orchestrator.hub.describing import HubDescriber
from orchestrator.hub.memory import Memory
from orchestrator.model import Deployment, ModelRef, Policy, RuntimeSpec, Serve, Spec

CONFIG = {"model_type": "qwen3", "num_hidden_layers": 2}
BASE = "org/m"
TREE = f"base_model:quantized:{BASE}"
MIB = 1 << 20


def weights(*tensors: str, size: int = MIB) -> bytes:
    """A safetensors file, by the letter of the format."""
    header = {
        name: {"dtype": "BF16", "shape": [size // 2], "data_offsets": [index * size, (index + 1) * size]}
        for index, name in enumerate(tensors)
    }
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(size * len(tensors))


def model(config: Mapping[str, Any] = CONFIG) -> dict[str, bytes]:
    shards = {f"model-0000{number}-of-00002.safetensors": weights(f"a{number}", f"b{number}") for number in (1, 2)}
    names = {f"{letter}{number}": f"model-0000{number}-of-00002.safetensors" for letter in "ab" for number in (1, 2)}
    index = {"metadata": {"total_size": 4 * MIB}, "weight_map": names}
    texts = {"config.json": config, "generation_config.json": {"top_k": 20}, "model.safetensors.index.json": index}
    return shards | {name: json.dumps(text).encode() for name, text in texts.items()} | {"README.md": b"# m"}


@pytest.fixture
def describer(hub: Hub, tmp_path: Path) -> Iterator[HubDescriber]:
    """As orch has it, with a child process of its own."""
    with ExitStack() as stack:
        yield made(hub.endpoint, tmp_path, stack)


def made(endpoint: str, home: Path, stack: ExitStack, **more: str) -> HubDescriber:
    variables = {"HOME": str(home), "PATH": os.environ["PATH"], "HF_ENDPOINT": endpoint, **more}
    found = HubDescriber(variables, Memory(home / "orch"), lambda name, ref: "", lambda runtime: {})
    stack.callback(lambda: [child.close() for child in found._children.values()])
    return found


def wanted(
    repo: str = BASE, revision: str | None = None, *, kit: Kit | None = None, offline: bool = False
) -> Deployment:
    """With the cache of ``kit``."""
    home, env = str(kit.home / "hf") if kit else None, {"HF_HUB_OFFLINE": "1"} if offline else {}
    spec = Spec(ModelRef(repo=repo, revision=revision), Serve(), RuntimeSpec("self"), env=env, hf_home=home)
    return Deployment("a", "test", spec, Policy())


# ---------------------------------------------------------------------------------------------------------- one model


def test_a_model_must_be_described_by_a_few_kilobytes_of_it(hub: Hub, describer: HubDescriber) -> None:
    commit = hub.add(BASE, model(), labels=["qwen3", "base_model:org/older"])
    found = describer.describe(wanted())
    assert (found.place, found.commit) == (f"{BASE}@{commit[:8]}", commit)
    assert found.config == CONFIG
    assert found.texts["generation_config.json"] == {"top_k": 20}
    names = [tensor.name for header in found.headers for tensor in header.tensors]
    assert names == ["a1", "b1", "a2", "b2"]
    assert found.bytes == found.declared == 4 * MIB
    assert (found.kind, found.files, found.here, found.gated) == ("safetensors", 2, False, False)
    assert found.disk == 2 * len(weights("a1", "b1"))
    assert (found.tags, found.base_models) == (("qwen3", "base_model:org/older"), ("org/older",))
    assert found.notes == ()
    assert hub.sent("safetensors") < 20_000
    assert found.read < 20_000
    asked = len(hub.requests)
    assert describer.describe(wanted()) == found
    assert len(hub.requests) == asked


def test_a_model_that_is_here_must_be_described_without_the_hub(hub: Hub, kit: Kit, describer: HubDescriber) -> None:
    want = kit.add(model(), repo=BASE)
    kit.fetch(want)
    asked = len(hub.requests)
    found = describer.describe(wanted(kit=kit))
    assert found.here
    assert describer.described(wanted(kit=kit)) == found
    assert found.bytes == 4 * MIB
    assert len(hub.requests) == asked


def test_what_is_here_in_part_must_be_told_without_the_hub(hub: Hub, kit: Kit, describer: HubDescriber) -> None:
    want = kit.add(model(), repo=BASE)
    kit.fetch(want)
    kit.pointer(want, "model-00002-of-00002.safetensors").unlink()
    found = describer.describe(wanted(kit=kit, offline=True))
    asked = len(hub.requests)
    here = describer.described(wanted(kit=kit))
    assert len(hub.requests) == asked
    assert here
    assert here.config == found.config == CONFIG
    assert here.bytes == found.bytes == 2 * MIB
    assert here.here
    assert found.here
    assert any(note.startswith("not all of it is here, and the Hub cannot be asked: ") for note in found.notes)
    assert (found.files, len(found.headers)) == (2, 1)  # the index names one more than can be read


def test_a_revision_must_be_the_one_that_is_asked_for(hub: Hub, describer: HubDescriber) -> None:
    first = hub.add(BASE, model({"model_type": "old"}))
    hub.add(BASE, model())
    found = describer.describe(wanted(revision=first))
    assert (found.commit, found.config) == (first, {"model_type": "old"})


@pytest.mark.parametrize(
    "damage", [b"\xff" * 100, b"\x10\0\0\0\0\0\0\0{nothing", b"abc"], ids=["noise", "cut", "short"]
)
def test_a_damaged_shard_must_be_named_and_the_others_read(hub: Hub, describer: HubDescriber, damage: bytes) -> None:
    hub.add(BASE, model() | {"model-00002-of-00002.safetensors": damage})
    found = describer.describe(wanted())
    assert [tensor.name for header in found.headers for tensor in header.tensors] == ["a1", "b1"]
    assert found.notes[0].startswith("cannot read model-00002-of-00002.safetensors: ")
    assert not found.complete


def test_weights_without_safetensors_must_tell_their_size(hub: Hub, describer: HubDescriber) -> None:
    hub.add(BASE, {"config.json": b"{}", "pytorch_model.bin": b"pickle" * 1000})
    found = describer.describe(wanted())
    assert (found.kind, found.disk, found.headers) == ("bin", 6000, ())
    assert found.notes == ("pytorch_model.bin tells its tensors only to who runs it: only its size is known",)
    assert hub.sent("pytorch_model.bin") == 0


def test_a_server_without_ranges_must_not_send_it_all(hub: Hub, describer: HubDescriber) -> None:
    hub.add(BASE, model() | {"model-00001-of-00002.safetensors": weights("a1", "b1", size=64 * MIB)})
    hub.fault("no_range", times=None)
    found = describer.describe(wanted())
    assert found.complete
    assert hub.sent("00001") < 32 * MIB


@pytest.mark.parametrize("kind", ["reset", "status", "stall"])
def test_a_fault_that_passes_must_not_be_seen(hub: Hub, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(BASE, model())
    hub.fault(kind, "00002", after=10)
    monkeypatch.setattr(describe, "PAUSES", (0.01, 0.01, 0.01))
    question = Question(BASE, "main")
    told = describe.described(Job("describe", hub.endpoint, 0, tuning=FAST), question)
    assert len(told["description"]["headers"]) == 2
    assert told["description"]["notes"] == []


def test_a_revision_that_does_not_exist_must_not_be_answered_with_another(
    hub: Hub, kit: Kit, describer: HubDescriber
) -> None:
    kit.fetch(kit.add(model(), repo=BASE))  # whole, and here, at main
    with pytest.raises(HubRefused, match=r"cannot find revision maim of org/m: .*did you mean main\?"):
        describer.describe(wanted(revision="maim", kit=kit))
    with pytest.raises(HubUnreachable, match=r"cannot ask the Hub about org/m@maim: .*; here is main"):
        describer.describe(wanted(revision="maim", kit=kit, offline=True))


def test_what_another_tool_left_is_here_at_the_revision_that_it_names(tmp_path: Path, describer: HubDescriber) -> None:
    cache = Cache(tmp_path)
    cache.commit({"config.json": json.dumps(CONFIG).encode()}, repo=BASE, refs=("main",), knows={})
    spec = replace(wanted().spec, hf_home=str(tmp_path / "hf"))
    found = describer.described(replace(wanted(), spec=spec))
    assert found
    assert found.config == CONFIG
    other = replace(spec, model=replace(spec.model, revision="v1"))
    assert describer.described(replace(wanted(), spec=other)) is None


# ----------------------------------------------------------------------------------------------- what is not to be had


def test_of_a_gated_model_the_list_of_files_must_be_told_with_the_cure(hub: Hub, describer: HubDescriber) -> None:
    hub.add(BASE, model(), gated=True, token="hf_right")
    found = describer.describe(wanted())
    assert isinstance(found.error, HubRefused)
    assert found.error.why == "it is gated, and no token was sent"
    assert f"ask for access at {hub.endpoint}/{BASE}" in found.error.do
    assert found.gated
    assert (found.config, found.headers) == (None, ())
    assert (found.files, found.disk) == (2, 2 * len(weights("a1", "b1")))


def test_a_token_must_open_what_is_gated(hub: Hub, tmp_path: Path) -> None:
    hub.add(BASE, model(), gated=True, token="hf_right")
    with ExitStack() as stack:
        found = made(hub.endpoint, tmp_path, stack, HF_TOKEN="hf_right").describe(wanted())
    assert found.error is None
    assert found.complete


def test_a_name_that_nobody_has_must_be_refused_with_one_that_is_close(hub: Hub, describer: HubDescriber) -> None:
    hub.add("org/model-32b", model())
    with pytest.raises(HubRefused, match=r"did you mean org/model-32b\?"):
        describer.describe(wanted("org/modell-32b"))


def test_a_hub_that_is_away_must_be_said(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.stop()
    monkeypatch.setattr(describe, "Hub", partial(describe.Hub, pauses=()))
    question = Question(BASE, "main")
    told = describe.described(Job("describe", hub.endpoint, 0, tuning=FAST), question)
    assert told.keys() == {"error"}
    assert told["error"]["kind"] == "unreachable"
    assert "there is no way to" in told["error"]["why"]


def test_offline_must_ask_nobody(hub: Hub, describer: HubDescriber) -> None:
    hub.add(BASE, model())
    with pytest.raises(HubUnreachable, match="HF_HUB_OFFLINE is set"):
        describer.describe(wanted(offline=True))
    assert describer.described(wanted()) is None
    assert hub.requests == []


# --------------------------------------------------------------------------------------------------------- variants


def gguf_of(blocks: int) -> bytes:
    """One tensor of Q8_0, 34 bytes a block."""
    name = struct.pack("<Q", 1) + b"w"
    info = name + struct.pack("<IQIQ", 1, 32 * blocks, 8, 0)
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + info
    return header + b"\0" * (-len(header) % 32 + 34 * blocks)


@pytest.fixture
def family(hub: Hub) -> Hub:
    """A model with three forms of its owner's and one of somebody else's."""
    hub.add(BASE, model(), downloads=1000)
    awq = {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}
    hub.add(f"{BASE}-AWQ", model(CONFIG | awq), labels=[TREE], downloads=500)
    fp8 = {"quantization_config": {"quant_method": "fp8"}}
    hub.add(f"{BASE}-FP8", model(CONFIG | fp8), labels=["fp8"], downloads=400)
    gguf = {f"m-{quant}.gguf": gguf_of(blocks) for quant, blocks in (("Q8_0", 900), ("Q4_K_M", 500))}
    hub.add(f"{BASE}-GGUF", gguf, labels=[TREE], downloads=300)
    hub.add("else/m-NVFP4", model(), labels=[TREE], downloads=9, gated=True)
    hub.add("else/m-AWQ", model(), labels=[TREE], downloads=9999)
    hub.add(f"{BASE}-Base", model())
    return hub


def test_the_forms_of_a_model_must_be_found_by_tree_and_by_name(family: Hub, describer: HubDescriber) -> None:
    found = describer.variants(wanted())
    assert [(one.repo, one.kind, one.bits, one.how) for one, _ in found] == [
        (BASE, "base", 0, "declared"),
        (f"{BASE}-FP8", "fp8", 8, "declared"),
        (f"{BASE}-AWQ", "awq", 4, "declared"),
        ("else/m-NVFP4", "nvfp4", 4, "assumed"),
        (f"{BASE}-GGUF:Q4_K_M", "gguf", 0, "assumed"),
    ]
    disk = 2 * len(weights("a1", "b1"))
    assert [one.disk for one, _ in found] == [disk, disk, disk, disk, len(gguf_of(500))]
    assert [one.cached for one, _ in found] == [0.0] * 5
    refused = found[3][0]
    assert refused.gated
    assert "it is gated" in refused.why
    described = [told for _, told in found if told]
    assert [one.bytes for one in described] == [4 * MIB, 4 * MIB, 4 * MIB, 0, 500 * 34]
    assert family.sent("Q8_0.gguf") == 0


def test_a_quantized_form_must_lead_to_the_same_family(family: Hub, describer: HubDescriber) -> None:
    found = [one.repo for one, _ in describer.variants(wanted(f"{BASE}-AWQ"))]
    assert found[:2] == [BASE, f"{BASE}-AWQ"]
    assert set(found) == {BASE, f"{BASE}-AWQ", f"{BASE}-FP8", "else/m-NVFP4", f"{BASE}-GGUF:Q4_K_M"}


def test_a_gguf_model_that_is_named_must_be_the_one_that_is_told(family: Hub, describer: HubDescriber) -> None:
    found = {one.repo: one for one, _ in describer.variants(wanted(f"{BASE}-GGUF:Q8_0"))}
    assert found[f"{BASE}-GGUF:Q8_0"].disk == len(gguf_of(900))
    assert BASE in found
    assert f"{BASE}-GGUF:Q4_K_M" not in found


def test_a_gguf_model_that_is_not_there_must_be_refused_with_those_that_are(
    family: Hub, describer: HubDescriber
) -> None:
    there = r"did you mean Q4_K_M\? there is m-Q4_K_M\.gguf, m-Q8_0\.gguf"
    with pytest.raises(HubRefused, match=rf"cannot find q4_k_n in {BASE}-GGUF: it has no GGUF file .*; {there}"):
        describer.describe(wanted(f"{BASE}-GGUF:q4_k_n"))
    with pytest.raises(HubRefused, match=f"cannot find Q4_K_M in {BASE}: .*there is .safetensors"):
        describer.describe(wanted(f"{BASE}:Q4_K_M"))
    found = {one.repo: one for one, _ in describer.variants(wanted(), [f"{BASE}-GGUF:Q2_K"])}
    assert found[f"{BASE}-GGUF:Q2_K"].why.startswith(f"cannot find Q2_K in {BASE}-GGUF: ")


def test_a_gguf_model_that_may_be_elsewhere_must_not_be_said_to_be_missing(
    family: Hub, kit: Kit, describer: HubDescriber
) -> None:
    kit.fetch(kit.add({"m-Q8_0.gguf": gguf_of(900)}, repo="org/one-GGUF"))
    with pytest.raises(HubUnreachable, match="HF_HUB_OFFLINE is set"):
        describer.describe(wanted("org/one-GGUF:Q4_K_M", kit=kit, offline=True))


def test_what_a_person_names_must_be_looked_at_and_a_wrong_name_said(family: Hub, describer: HubDescriber) -> None:
    found = {one.repo: one for one, _ in describer.variants(wanted(), ["else/m-AWQ", "org/nothing-of-the-kind"])}
    assert found["else/m-AWQ"].given
    assert found["org/nothing-of-the-kind"].why.startswith("cannot find org/nothing-of-the-kind on the Hub: ")


def test_a_form_that_is_here_must_be_told_without_the_hub(family: Hub, kit: Kit, describer: HubDescriber) -> None:
    kit.fetch(kit.add(model(CONFIG | {"quantization_config": {"quant_method": "awq"}}), repo=f"{BASE}-AWQ"))
    found = {one.repo: one for one, _ in describer.variants(wanted(kit=kit, offline=True))}
    assert (found[f"{BASE}-AWQ"].kind, found[f"{BASE}-AWQ"].cached) == ("awq", 1.0)
    assert "HF_HUB_OFFLINE is set" in found[BASE].why
    assert found.keys() == {BASE, f"{BASE}-AWQ"}
