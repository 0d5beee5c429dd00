"""What is known of a deployment and its host when its engine failed."""

import re
from dataclasses import replace
from typing import Any

from builders import running, wanted

from orchestrator import diagnosis_data
from orchestrator.diagnosis.amounts import AMOUNTS
from orchestrator.diagnosis.facts import facts
from orchestrator.diagnosis.lines import read
from orchestrator.diagnosis.match import KERNEL, diagnose
from orchestrator.diagnosis.model import Ending
from orchestrator.model import Gpu, GpuProcess, Instance, Inventory, RuntimeInfo, RuntimeSpec, Scalar, SecretRef

GIB = 1 << 30
INFO = RuntimeInfo("k", "/opt/vllm", "/opt/vllm/bin/python", "vllm", "0.32.0", ("vllm",), "serve")
ALICE = GpuProcess(4242, 31 * GIB, "alice", "python train.py")


def card(index: int, *processes: GpuProcess, **fields: Any) -> Gpu:
    used = sum(one.memory or 0 for one in processes)
    return Gpu(index, f"GPU-0000000{index}", **({"total": 48 * GIB, "used": used} | fields), processes=processes)


def holders(*gpus: Gpu, of: Any = None, **more: Any) -> Scalar:
    return facts(of or wanted(), Inventory(gpus), **more).get("holders", "")


def test_nothing_is_known_of_nothing() -> None:
    assert facts(None) == {}
    assert facts(None, Inventory(), None) == {}


def test_fields_go_by_their_place_in_the_files() -> None:
    built = RuntimeSpec("requirements", requirements=("vllm",), torch_backend="cu128", python="3.12")
    deployment = wanted(
        port=8001,
        max_model_len=4096,
        quantization="awq",
        tensor_parallel_size=2,
        args={"max_num_seqs": 8, "enforce_eager": True, "rope_scaling": {"factor": 2}},
        runtime=built,
        env={"NCCL_DEBUG": "INFO"},
        hf_home="/data/hf",
        gpus=("0", "1"),
        timeout=600.0,
    )
    known = facts(deployment, None, INFO, environment_file="environments/lab.yaml")
    assert known["serve.port"] == 8001
    assert known["serve.max_model_len"] == 4096
    assert known["serve.tensor_parallel_size"] == 2
    assert known["model.repo"] == "Qwen/Qwen3-32B-AWQ"
    assert known["model.quantization"] == "awq"
    assert known["serve.args.max_num_seqs"] == 8
    assert known["serve.args.enforce_eager"] is True
    assert known["serve.args.rope_scaling"] is None
    assert known["gpus"] == "[0, 1]"
    assert known["readiness.timeout"] == 600.0
    assert known["environment.env.NCCL_DEBUG"] == "INFO"
    assert known["environment.runtime.torch_backend"] == "cu128"
    assert known["environment.cuda.libcuda"] == "auto"
    assert known["environment.cache.hf_home"] == "/data/hf"
    assert (known["name"], known["environment"]) == ("qwen", "lab")
    assert known["environment_file"] == "environments/lab.yaml"
    assert (known["python"], known["version"]) == ("/opt/vllm/bin/python", "0.32.0")
    assert "serve.gpu_memory_utilization" not in known
    assert "model.path" not in known


def test_a_secret_is_there_by_the_name_of_what_holds_it_alone() -> None:
    deployment = replace(
        wanted(secrets={"HF_TOKEN": "1:abcdef"}), secret_refs={"HF_TOKEN": SecretRef("env", "MY_TOKEN")}
    )
    known = facts(deployment)
    assert known["environment.secrets.HF_TOKEN.env"] == "MY_TOKEN"
    assert not [value for value in known.values() if "abcdef" in str(value)]


def test_the_cards_are_those_of_the_start_then_of_the_profile_then_all() -> None:
    two = (card(0, ALICE), card(1, GpuProcess(77, 2 * GIB, "bob", "Xorg")))
    first = "GPU 0: 31.0 GiB held by pid 4242 alice python train.py"
    second = "GPU 1: 2.0 GiB held by pid 77 bob Xorg"
    assert holders(*two) == f"{first}; {second}"
    assert holders(*two, gpus=("GPU-00000001",)) == second
    assert holders(*two, of=wanted(gpus=("0",))) == first
    assert holders(*two, of=wanted(gpus=("0",)), gpus=("1",)) == second
    assert holders(card(0, parts=("MIG-a",), used=4 * GIB), gpus=("MIG-b",)) == ""
    assert holders(card(0)) == ""


def test_who_holds_most_comes_first_and_of_many_three_are_named() -> None:
    crowd = [GpuProcess(pid, pid * GIB, "u", "p") for pid in (1, 4, 2, 3)]
    assert re.findall(r"pid (\d)", str(holders(card(0, *crowd)))) == ["4", "3", "2"]


def test_what_the_failed_engine_itself_still_has_is_not_told() -> None:
    mine: Instance = running(wanted(), pid=4000, gpus=("0",))
    own = GpuProcess(4001, 10 * GIB, "me", "VLLM::EngineCore", mine.marker)
    assert "31.0 GiB held by pid 4242" in str(holders(card(0, own, ALICE), leaving=[mine]))
    assert "4001" not in str(holders(card(0, own, ALICE), leaving=[mine]))
    assert holders(card(0, own), leaving=[mine]) == ""
    assert "pid 4001" in str(holders(card(0, own)))


def test_traffic_between_cards_matters_to_an_engine_on_several() -> None:
    host = Inventory((card(0),), peers_blocked="the IOMMU translates")
    assert facts(wanted(tensor_parallel_size=2), host)["peers_blocked"] == "the IOMMU translates"
    assert "peers_blocked" not in facts(wanted(), host)
    assert "peers_blocked" not in facts(wanted(tensor_parallel_size=2), Inventory())


def test_the_newest_cuda_of_the_driver_gives_the_build_of_torch_that_fits() -> None:
    log = read("RuntimeError: CUDA driver version is insufficient for CUDA runtime version")
    known = facts(wanted(runtime=RuntimeSpec("requirements")), Inventory(cuda="12.4"))
    found = diagnose(log, Ending(code=1), "", diagnosis_data.load(), known)
    assert found.changes == {"environment.runtime.torch_backend": "cu124"}
    assert "found" not in facts(None, Inventory(cuda=""))


def test_a_flag_is_removed_whatever_its_value_was() -> None:
    deployment = wanted(args={"old_flag": {"a": [1]}})
    log = read("vllm: error: unrecognized arguments: --old-flag")
    found = diagnose(log, Ending(code=2), "", diagnosis_data.load(), facts(replace(deployment, file="/p/q.yaml")))
    assert found.changes == {"serve.args.old_flag": None}
    assert "-     old_flag: ..." in found.diff


def test_everything_that_the_catalogue_asks_for_is_provided() -> None:
    """A place in a text is a group of the pattern, a number made of what is known, or one of these."""
    host = Inventory((card(0, ALICE),), cuda="12.4", peers_blocked="the IOMMU translates")
    known = {*facts(wanted(tensor_parallel_size=2), host, INFO, environment_file="e"), KERNEL}
    # What a failure is about: a general word stands there where the log does not tell.
    optional = {"path", "repo", "pull", "model.path"}
    for one in diagnosis_data.load():
        patterns = (*one.patterns, *one.hints, *one.last)
        groups = {name for pattern in patterns for name in pattern.groupindex}
        texts = (one.title, one.means, one.cure.command, one.cure.advice, *map(str, one.cure.set.values()))
        places = {name for text in texts for name in re.findall(r"\{([A-Za-z_][\w.]*)\}", text)}
        assert places <= groups | set(AMOUNTS) | known | optional, one.id
        asked = {condition.split()[1] for condition in one.endings if condition.startswith("fact ")}
        assert asked <= known, one.id


def test_no_name_means_two_things() -> None:
    host = Inventory((card(0, ALICE),), cuda="12.4")
    assert not set(facts(wanted(), host, INFO)) & set(AMOUNTS)
