"""`orch inspect`: a person's own notes on serving Qwen3-32B, then what else it is asked, and what cannot be read. The
texts are in golden/inspect; UPDATE_GOLDEN=1 writes them anew."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import golden
import pytest
from caches import Cache
from fakes.hub import Hub
from fakes.nvml import Nvml
from fakes.runtime import make_fake_runtime
from fakes.sandbox import Result, Sandbox
from fit_kit import awq, plain, tiny
from known_models import QWEN3_32B, QWEN3_32B_AWQ, QWEN3_32B_FP8, QWEN3_32B_GPTQ
from test_token_counts import TRANSFORMERS
from weight_files import Gguf, safetensors, with_length

from orchestrator.fit.model import Tensor

BASE = "Qwen/Qwen3-32B"
ADA = {"model": "RTX 6000 Ada Generation", "count": 4, "memory": "49140MiB", "compute_capability": "8.9"}
CHECKPOINTS = {"": QWEN3_32B, "-AWQ": QWEN3_32B_AWQ, "-FP8": QWEN3_32B_FP8, "-GPTQ-Int8": QWEN3_32B_GPTQ}


@pytest.fixture
def home(sandbox: Sandbox, fake_runtime: Path) -> Sandbox:
    """A project for four RTX 6000 Ada, none of which is here, and no way to the Hub."""
    sandbox.env |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(sandbox.home / "hf")}
    cache = {"hf_home": str(sandbox.home / "hf")}
    secrets = {"HF_TOKEN": {"env": "HF_TOKEN"}}  # is not set: a help, and no condition
    sandbox.environment(fake_runtime, "rtx6000-ada", cache=cache, secrets=secrets, host={"gpus": ADA})
    profile(sandbox, "qwen32b", repo=BASE, tensor_parallel_size=2)
    return sandbox


def profile(home: Sandbox, name: str, *, repo: str, **serve: Any) -> None:
    serve = {"names": ["qwen3-32b"], "max_model_len": 40960, "gpu_memory_utilization": 0.9} | serve
    home.profile(name, 8000, environment="rtx6000-ada", model={"repo": repo}, gpus="auto", serve=serve)


@pytest.fixture
def configs(home: Sandbox) -> Sandbox:
    """Of Qwen3-32B and its forms the Hub's cache has config.json, and nothing else."""
    cache = Cache(home.home)
    for end, config in CHECKPOINTS.items():
        cache.commit({"config.json": json.dumps(config).encode()}, repo=BASE + end, refs=("main",), knows={})
    return home


@pytest.fixture
def online(home: Sandbox, hub: Hub) -> Sandbox:
    home.env |= {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.endpoint}
    return home


def asked(home: Sandbox, *args: str, code: int = 0) -> Result:
    done = home.orch("inspect", *args)
    assert "Traceback" not in done.stderr
    assert done.code == code, f"{done.stdout}\n{done.stderr}"
    return done


def told(home: Sandbox, *args: str) -> Any:
    return asked(home, *args, "--output", "json").json


def header_of(tensors: Iterable[Tensor]) -> tuple[bytes, int]:
    """The beginning of a safetensors file, and the size of all of it."""
    at, header = 0, {}
    for one in tensors:
        header[one.name] = {
            "dtype": one.dtype, "shape": list(one.shape), "data_offsets": [at, at + one.bytes]
        }  # fmt: skip
        at += one.bytes
    text = with_length(json.dumps(header))
    return text, len(text) + at


def publish(
    hub: Hub, repo: str, config: Mapping[str, Any], tensors: Iterable[Tensor], header: bytes = b"", **more: Any
) -> None:
    """With the true header and the true size of its weights, and none of them."""
    beginning, size = header_of(tensors)
    files = {"config.json": json.dumps(config).encode(), "model.safetensors": header or beginning}
    hub.add(repo, files, sizes={"model.safetensors": size}, **more)


# ------------------------------------------------------------------------------------------------------------ the notes


def test_the_notes_must_come_out_of_config_json_alone(configs: Sandbox) -> None:
    found = told(configs, "profiles/qwen32b.yaml", "--environment", "rtx6000-ada")
    assert found["weights"]["bytes"] == 65_524_246_528  # 32,762,123,264 parameters of two bytes
    assert not any("no weights" in note or "another repository" in note for note in found["notes"])
    assert found["architecture"]["max_positions"] == 40960
    assert found["fit"]["verdict"] == "fits"
    assert found["fit"]["needed"]["value"] == 2
    assert {one["cards"]: one["refused"] for one in found["fit"]["layouts"]} == {
        1: None, 2: None, 3: "64 attention heads are not divisible by 3", 4: None,
    }  # fmt: skip
    assert {one["cards"]: one["fits"] for one in found["fit"]["layouts"]} == {1: False, 2: True, 3: False, 4: True}
    cards = {one["name"].removeprefix(BASE): one["cards_needed"] for one in found["variants"]}
    assert cards == {"": 2, "-AWQ": 1, "-FP8": 1, "-GPTQ-Int8": 2}
    assert found["recommended"]["name"] == f"{BASE}-AWQ"


def test_the_notes_as_they_are_printed(configs: Sandbox) -> None:
    found = asked(configs, "profiles/qwen32b.yaml", "--environment", "rtx6000-ada").stdout
    golden.check("inspect", "qwen32b", found.rstrip("\n"))


def test_the_same_with_headers_from_the_hub(online: Sandbox, hub: Hub) -> None:
    publish(hub, BASE, QWEN3_32B, plain(QWEN3_32B), downloads=1000)
    publish(hub, f"{BASE}-AWQ", QWEN3_32B_AWQ, awq(QWEN3_32B_AWQ), labels=[f"base_model:quantized:{BASE}"])
    found = told(online, "qwen32b", "--environment", "rtx6000-ada")
    assert found["notes"] == []
    assert (found["weights"]["bytes"], found["weights"]["how"]) == (65_524_246_528, "measured")
    assert found["read_bytes"] < 200_000
    assert found["disk_bytes"] == header_of(plain(QWEN3_32B))[1]
    plain_, packed = found["variants"]
    assert (plain_["cards_needed"], packed["cards_needed"]) == (2, 1)
    assert packed["disk_bytes"] == header_of(awq(QWEN3_32B_AWQ))[1]
    assert [one["cached"] for one in found["variants"]] == [False, False]
    assert packed["native"]
    assert hub.sent("safetensors") < 500_000


# ------------------------------------------------------------------------------------------------------------ what if


def test_what_if(configs: Sandbox) -> None:
    three = told(configs, "qwen32b", "-e", "rtx6000-ada", "-tp", "3", "--no-variants")
    assert three["fit"]["verdict"] == "refused"
    assert three["variants"] == []
    one = told(configs, "qwen32b", "-e", "rtx6000-ada", "--gpus", "1", "--no-variants")
    assert one["fit"]["why"] == "2 cards are asked for, and there are 1"
    half = told(configs, "qwen32b", "-e", "rtx6000-ada", "--no-variants", "--kv-cache-dtype", "fp8",
                "--max-model-len", "8192", "--gpu-memory-utilization", "0.95")  # fmt: skip
    # 64 layers, keys and values of 4 heads of 128 on each of two cards, one byte each.
    assert half["fit"]["layout"]["kv_per_token"]["value"] == 64 * 2 * 4 * 128
    assert (half["use"]["max_model_len"], half["use"]["utilization"]) == (8192, 0.95)


def test_cards_that_cannot_run_it_and_a_context_that_it_does_not_read(home: Sandbox, fake_runtime: Path) -> None:
    home.environment(fake_runtime, "old", host={"gpus": ADA | {"compute_capability": "7.0"}})
    config = tiny(quantization_config={"quant_method": "fp8"})
    place = folder(home, {"config.json": json.dumps(config).encode(), "m.safetensors": weights(tiny())})
    found = asked(home, place, "-e", "old", "--max-model-len", "1024").stdout
    assert "But it cannot run there: fp8 needs capability " in found
    assert "! max_model_len 1,024 is refused by the engine: it reads 256 tokens" in found
    assert told(home, place, "-e", "old")["support"]["runs"] is False


def test_an_answer_that_it_does_not_fit_is_one(configs: Sandbox) -> None:
    found = asked(configs, "qwen32b", "-e", "rtx6000-ada", "-tp", "1", "--no-variants").stdout
    assert "It does not fit: weights (61.0 GiB)" in found
    assert "tensor_parallel_size: 2, on 2 cards" in found


def test_a_field_that_is_set(configs: Sandbox) -> None:
    found = told(configs, "qwen32b", "-e", "rtx6000-ada", "--no-variants", "--set", "serve.max_model_len=1024")
    assert found["use"]["max_model_len"] == 1024
    wrong = asked(configs, BASE, "--set", "serve.max_model_len=1024", code=64).stderr
    assert wrong == f"orch: cannot use --set: {BASE} is no profile; leave it out\n"


def test_a_repository_is_spread_over_as_few_cards_as_it_takes(configs: Sandbox) -> None:
    found = told(configs, BASE, "-e", "rtx6000-ada")
    assert (found["use"]["tensor"], found["use"]["max_model_len"]) == (2, 40960)
    assert found["fit"]["verdict"] == "fits"


def test_the_cards_of_this_host_come_first(configs: Sandbox, nvml: Nvml) -> None:
    configs.env |= nvml.env
    found = told(configs, "qwen32b", "--no-variants")
    assert (found["cards"]["how"], found["cards"]["source"]) == ("measured", "the driver")
    assert found["cards"]["count"] == 4


def test_without_any_cards_the_weights_and_the_cache_are_told(configs: Sandbox) -> None:
    (configs.project / "environments/rtx6000-ada.yaml").unlink()
    found = asked(configs, f"{BASE}-AWQ").stdout
    golden.check("inspect", "no-cards", found.rstrip("\n"))


def test_several_profiles_are_not_one(configs: Sandbox) -> None:
    profile(configs, "other", repo=BASE)
    wrong = asked(configs, "profiles", code=64).stderr
    assert wrong == "orch: cannot inspect profiles: it holds 2 profiles (other, qwen32b); name one of them\n"


def test_a_variant_that_is_named(online: Sandbox, hub: Hub) -> None:
    publish(hub, "org/m", tiny(), plain(tiny()))
    publish(hub, "else/m-other", tiny(num_hidden_layers=4), plain(tiny(num_hidden_layers=4)))
    found = told(online, "org/m", "-e", "rtx6000-ada", "--variant", "else/m-other", "--variant", "no/such")
    assert [one["name"] for one in found["variants"]] == ["org/m", "else/m-other"]
    assert found["unread"][0]["name"] == "no/such"
    assert "cannot find no/such on the Hub" in found["unread"][0]["why"]


# ---------------------------------------------------------------------------------------------------- what is not good


def folder(home: Sandbox, files: Mapping[str, bytes]) -> str:
    for name, data in files.items():
        (home.project / "m").mkdir(exist_ok=True)
        (home.project / "m" / name).write_bytes(data)
    return "m"


def weights(config: Mapping[str, Any]) -> bytes:
    return safetensors({one.name: (one.dtype, one.shape, one.bytes) for one in plain(dict(config))})


def test_a_config_without_a_field(home: Sandbox) -> None:
    config = {key: value for key, value in tiny().items() if key not in ("max_position_embeddings", "vocab_size")}
    found = asked(home, folder(home, {"config.json": json.dumps(config).encode(), "m.safetensors": weights(tiny())}))
    assert "not found in config.json: vocab_size, max_position_embeddings" in found.stdout
    assert "measured" in found.stdout


def test_a_custom_architecture(home: Sandbox) -> None:
    config = {"architectures": ["MyModel"], "model_type": "mine", "hidden_size": 64}
    data = {"config.json": json.dumps(config).encode(), "m.safetensors": weights(tiny())}
    found = asked(home, folder(home, data), "-e", "rtx6000-ada").stdout
    assert "MyModel: " in found
    assert "It cannot be said: config.json does not tell num_hidden_layers" in found


def test_weights_that_tell_nothing(home: Sandbox) -> None:
    data = {"config.json": json.dumps(tiny()).encode(), "pytorch_model.bin": b"pickle" * 1000}
    found = asked(home, folder(home, data)).stdout
    assert "1 file of weights, 6.0 kB (bin), on this disk" in found
    assert "! pytorch_model.bin tells its tensors only to who runs it: only its size is known" in found
    assert "computed" in found


def test_a_truncated_header(home: Sandbox) -> None:
    data = {"config.json": json.dumps(tiny()).encode(), "m.safetensors": weights(tiny())[:300]}
    found = asked(home, folder(home, data)).stdout
    assert "! cannot read m.safetensors: " in found
    assert "computed" in found


def test_a_gated_repository(online: Sandbox, hub: Hub) -> None:
    publish(hub, "org/gated", tiny(), plain(tiny()), gated=True, token="hf_right")
    done = asked(online, "org/gated", code=1)
    assert "1 file of weights, " in done.stdout
    assert done.stderr.startswith("orch: cannot ")
    assert "it is gated, and no token was sent; ask for access at" in done.stderr


def test_a_gguf_file(home: Sandbox) -> None:
    pairs = {"general.architecture": ("text", "qwen3"), "qwen3.block_count": ("u32", 2),
             "qwen3.embedding_length": ("u32", 64), "qwen3.attention.head_count": ("u32", 4),
             "qwen3.attention.head_count_kv": ("u32", 2), "qwen3.context_length": ("u32", 4096)}  # fmt: skip
    tensors = [(f"blk.{layer}.attn_q.weight", (64, 64), 1, 64 * 64 * 2) for layer in (0, 1)]
    (home.project / "m.gguf").write_bytes(Gguf(pairs, tensors).file())
    found = told(home, "m.gguf")
    assert (found["architecture"]["layers"], found["architecture"]["max_positions"]) == (2, 4096)
    assert found["weights"]["bytes"] == 2 * 64 * 64 * 2


def test_a_gguf_file_of_an_unknown_version(home: Sandbox) -> None:
    (home.project / "m.gguf").write_bytes(Gguf({}, version=9).file())
    done = asked(home, "m.gguf", code=1)
    assert done.stderr.startswith(f"orch: cannot tell what {home.project}/m.gguf is: ")
    assert "version 9" in done.stderr


@pytest.mark.parametrize("what", [f"{BASE}@nonesuch", f"{BASE}:Q4_K_M"])
def test_what_a_repository_has_not_got_is_not_answered_with_what_it_has(
    configs: Sandbox, online: Sandbox, hub: Hub, what: str
) -> None:
    publish(hub, BASE, QWEN3_32B, plain(QWEN3_32B))
    done = asked(online, what, "-e", "rtx6000-ada", code=1)
    assert done.stdout == ""
    assert re.search(r"revision nonesuch of .*; there is main|find Q4_K_M in .*: there is \.safetensors", done.stderr)


@pytest.mark.parametrize("what", ["nothing", "no.gguf", "org/nothing", "no.yaml", ""])
def test_what_is_not_there(home: Sandbox, what: str) -> None:
    assert asked(home, what, code=1).stderr.startswith("orch: cannot ")


def test_a_config_that_is_empty(home: Sandbox) -> None:
    assert (
        "; config.json is empty; there is no config.json"
        in asked(home, folder(home, {"config.json": b""}), code=1).stderr
    )


def test_an_empty_folder(home: Sandbox) -> None:
    (home.project / "m").mkdir()
    assert "there is no config.json" in asked(home, "m", code=1).stderr


@pytest.mark.parametrize(
    ("page", "commit"), [(BASE, "a"), (f"{BASE}/tree/old", "b"), (f"{BASE}/", "a"), (f"{BASE}?library=vllm", "a")]
)
def test_a_page_of_the_hub_is_its_repository(configs: Sandbox, page: str, commit: str) -> None:
    config = {"config.json": json.dumps(QWEN3_32B_AWQ).encode()}
    Cache(configs.home).commit(config, "b" * 40, repo=BASE, refs=("old",), knows={})
    found = told(configs, f"https://huggingface.co/{page}", "-e", "rtx6000-ada", "--no-variants")
    assert found["place"] == f"{BASE}@{commit * 8}"


@pytest.mark.parametrize("page", ["", "Qwen", "datasets/a/b", f"{BASE}/blob/main/m.gguf", f"{BASE}/tree/"])
def test_a_page_of_something_else(home: Sandbox, page: str) -> None:
    wrong = asked(home, f"https://huggingface.co/{page}", code=64).stderr
    assert "it is no page of a model on the Hub; name a repository" in wrong


def test_what_only_the_command_line_says_is_checked(configs: Sandbox) -> None:
    wrong = asked(configs, "qwen32b", "-e", "rtx6000-ada", "--kv-cache-dtype", "bogus", code=64)
    assert wrong.stdout == ""
    assert re.search(
        r"cannot use --kv-cache-dtype bogus: vllm .* has no such cache; there is auto, .*fp8", wrong.stderr
    )
    wrong = asked(configs, "qwen32b", "--variant", "not a repo", code=64)
    assert "cannot use --variant not a repo: it is no repository; write OWNER/NAME" in wrong.stderr


def test_a_profile_whose_environment_is_missing(configs: Sandbox) -> None:
    (configs.project / "environments/rtx6000-ada.yaml").unlink()
    assert "there is no environments/rtx6000-ada.yaml" in asked(configs, "qwen32b", code=1).stderr


@pytest.mark.parametrize(
    "option", [("--gpus", "0"), ("--gpus", "100000"), ("-tp", "x"), ("--gpu-memory-utilization", "1.5")]
)
def test_an_option_that_cannot_be(configs: Sandbox, option: tuple[str, str]) -> None:
    assert asked(configs, "qwen32b", *option, code=64).stderr.startswith("orch: cannot understand the command: ")


def test_an_environment_without_cards(configs: Sandbox) -> None:
    wrong = asked(configs, "qwen32b", "--environment", "fake", code=1).stderr
    assert "cannot take the cards of fake: it declares none" in wrong


# --------------------------------------------------------------------------------------------------------------- input


def test_inputs_are_read_before_anything_else(configs: Sandbox) -> None:
    wrong = asked(configs, "qwen32b", "--input", "nothing.txt", code=1)
    assert (wrong.stdout, wrong.stderr) == ("", "orch: cannot count nothing.txt: no such file or directory\n")


def test_what_cannot_be_counted_is_told_below_the_answer(configs: Sandbox) -> None:
    (configs.project / "a.txt").write_text("some words")
    done = asked(configs, "qwen32b", "-e", "rtx6000-ada", "--no-variants", "--input", "a.txt", code=1)
    assert "It fits." in done.stdout
    assert "orch: cannot fetch Qwen/Qwen3-32B: " in done.stderr


def test_a_runtime_that_is_not_there_is_told_before_the_answer(configs: Sandbox) -> None:
    environment = configs.project / "environments/rtx6000-ada.yaml"
    told_ = json.loads(environment.read_text()) | {"runtime": {"requirements": ["vllm==0.32.0"]}}
    environment.write_text(json.dumps(told_))
    (configs.project / "a.txt").write_text("some words")
    done = asked(configs, "qwen32b", "--no-variants", "--input", "a.txt", code=1)
    assert done.stdout == ""
    assert "cannot count tokens: it takes the runtime " in done.stderr
    assert "build it by `orch apply`, or leave out --input" in done.stderr


@pytest.fixture
def counting(home: Sandbox, tmp_path: Path) -> str:
    """A folder with a model and a tokenizer, and a runtime whose transformers counts a token a word."""
    python = make_fake_runtime(tmp_path / "counting")
    library = next((python / "lib").glob("python3*/site-packages")) / "transformers"
    library.mkdir()
    (library / "__init__.py").write_text(TRANSFORMERS)
    home.environment(python, "counting")
    place = folder(home, {"config.json": json.dumps(tiny()).encode(), "m.safetensors": weights(tiny())})
    (home.project / place / "tokenizer.json").write_text(json.dumps({"template": "user"}))
    home.profile("counting", 8000, environment="counting", model={"path": str(home.project / place)})
    return "counting"


def test_tokens_of_files_and_of_standard_input(home: Sandbox, counting: str) -> None:
    (home.project / "a.txt").write_text("one two three")
    done = home.orch("inspect", counting, "-i", "a.txt", "-i", "-", "--expect-output", "50", input="four " * 260)
    assert done.code == 0, done.stderr
    # The template puts three words around each text; the model reads 256 tokens.
    assert done.stdout.endswith(
        "INPUT           TOKENS  TEXT  LEFT\n"
        "a.txt           6       3     200\n"
        "standard input  263     260   57 too few\n"
        "together        266     263   60 too few\n"
        "Counted by the model's own tokenizer, the model's chat template with it; of 256 tokens of context, with 50 "
        "kept for the answer.\n"
    )
    found = json.loads(
        home.orch("inspect", counting, "--output", "json", "--input", "-", input="four").stdout
    )  # fmt: skip
    assert found["inputs"]["each"] == [{"name": "standard input", "tokens": 4, "text_tokens": 1, "left": 252}]


def test_what_the_template_refuses_is_said_of_that_input(home: Sandbox, counting: str) -> None:
    (home.project / "a.json").write_text('[{"role": "tool", "content": "x"}]')
    (home.project / "b.txt").write_text("x")
    found = asked(home, counting, "-i", "a.json", "-i", "b.txt").stdout
    assert "a.json could not be counted: Only user and assistant roles are supported!" in found


def test_the_tokenizer_alone_is_fetched(online: Sandbox, hub: Hub, tmp_path: Path, counting: str) -> None:
    files = {"config.json": json.dumps(tiny()).encode(), "tokenizer.json": b'{"template": null}'}
    hub.add("org/m", {**files, "model.safetensors": weights(tiny())})
    environment = online.project / "environments/counting.yaml"
    told_ = json.loads(environment.read_text()) | {"cache": {"hf_home": str(online.home / "hf")}}
    environment.write_text(json.dumps(told_))
    online.profile("hubbed", 8000, environment="counting", model={"repo": "org/m"})
    found = told(online, "hubbed", "--no-variants", "--input", str(environment))
    assert found["inputs"]["each"][0]["tokens"] > 5
    assert not found["inputs"]["chat_template"]
    cache = online.home / "hf/hub/models--org--m"
    assert {path.name for path in cache.rglob("*.json") if path.is_symlink()} == {"config.json", "tokenizer.json"}
    assert not list(cache.rglob("*.safetensors"))
