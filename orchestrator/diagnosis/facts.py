"""What is known of a deployment, its runtime and its host when its engine failed: the ``facts`` of `match.diagnose`.

A fact is named as the field of the profile or the environment that says it ("serve.port", "environment.env.X",
"environment.cuda.libcuda"); what no field says has a name of its own:

    name, environment                the deployment's, and of its environment
    profile_file, environment_file   where these are written
    pull                             its name, where `orch pull` has something to fetch for it
    python, version                  of the runtime: its interpreter, and the engine's version
    cards                            how many this host has
    holders                          who holds memory of the deployment's cards, in the words of `orch gpus`
    peers_blocked                    why traffic between its cards may hang (Inventory)
    found                            the newest CUDA that the driver runs, in CUDA's own number (12040)

What a failure is about ("path", "repo") is no fact: only the log tells that. Secrets appear by name alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from orchestrator.cards import Card, cards, means
from orchestrator.engines import vllm
from orchestrator.model import Deployment, Instance, Inventory, Json, RuntimeInfo, Scalar

SHOWN = 3
"""Of each card, those who hold most of it."""


def facts(
    deployment: Deployment | None,
    inventory: Inventory | None = None,
    info: RuntimeInfo | None = None,
    *,
    gpus: Sequence[str] = (),
    leaving: Iterable[Instance] = (),
    environment_file: str = "",
) -> dict[str, Scalar]:
    """``inventory`` is of now, ``info`` of the deployment's runtime. ``gpus`` are the cards that the start was given,
    as in Attempt; without them, those that the profile names, else all. ``leaving`` is the engine that failed: what it
    still has is not told. A field whose value is no scalar is there as None."""
    known: dict[str, Scalar] = {}
    if deployment is not None:
        known |= _profile(deployment) | _environment(deployment)
        known |= _given(profile_file=deployment.file, environment_file=environment_file)
    if info is not None:
        known |= _given(python=info.python, version=info.version)
    if inventory is not None:
        named = tuple(gpus) or (deployment.spec.gpus if deployment and isinstance(deployment.spec.gpus, tuple) else ())
        known |= _given(cards=len(inventory.gpus) or None)
        known |= _given(holders=_holders(inventory, named, leaving), found=_cuda_number(inventory.cuda))
        if deployment is None or vllm.ranks(deployment.spec) > 1:
            known |= _given(peers_blocked=inventory.peers_blocked)
    return known


def _profile(deployment: Deployment) -> dict[str, Scalar]:
    spec, policy = deployment.spec, deployment.policy
    model, serve = spec.model, spec.serve
    gpus = f"[{', '.join(spec.gpus)}]" if isinstance(spec.gpus, tuple) else spec.gpus
    fields = ("host", "port", "tensor_parallel_size", "pipeline_parallel_size", "max_model_len")
    return {
        "name": deployment.name,
        **_given(pull=deployment.name if model.repo else None),
        **_given("model.", repo=model.repo, path=model.path, revision=model.revision, quantization=model.quantization),
        **_given("serve.", **{name: getattr(serve, name) for name in (*fields, "gpu_memory_utilization")}),
        **{f"serve.args.{name}": _scalar(value) for name, value in serve.args.items()},
        "gpus": gpus,
        "readiness.timeout": policy.ready_timeout,
        "drain": spec.drain,
        "restart.policy": policy.restart.policy,
        "restart.attempts": policy.restart.attempts,
        "restart.window": policy.restart.window,
    }


def _environment(deployment: Deployment) -> dict[str, Scalar]:
    spec, policy, runtime = deployment.spec, deployment.policy, deployment.spec.runtime
    where = {runtime.kind: runtime.where} if runtime.kind in {"venv", "conda"} else {}
    inside = {
        "backend": spec.backend,
        **_given("runtime.", **where, torch_backend=runtime.torch_backend, python=runtime.python),
        **_given("cuda.", home=spec.cuda_home, libcuda=policy.libcuda),
        **_given("cache.", hf_home=spec.hf_home, transfer=policy.transfer),
        **{f"env.{name}": value for name, value in spec.env.items()},
        **{f"secrets.{name}.{ref.kind}": ref.name for name, ref in deployment.secret_refs.items()},
    }
    return {"environment": deployment.environment, **{f"environment.{name}": value for name, value in inside.items()}}


def _given(prefix: str = "", **values: Scalar) -> dict[str, Scalar]:
    """Those that say something."""
    return {prefix + name: value for name, value in values.items() if value is not None and value != ""}


def _scalar(value: Json) -> Scalar:
    return value if isinstance(value, bool | int | float | str) else None


def _holders(inventory: Inventory, named: Sequence[str], leaving: Iterable[Instance]) -> str:
    """ "GPU 0: 31 GiB held by pid 4242 alice python"; empty when nobody holds any."""
    return "; ".join(
        f"GPU {card.gpu.index}: {_most(card).held}"
        for card in cards(inventory, (), leaving)
        if card.holdings and (not named or _is_named(card, named))
    )


def _is_named(card: Card, named: Sequence[str]) -> bool:
    return any(one in card.gpu.parts or means(one, card.gpu) for one in named)


def _most(card: Card) -> Card:
    held = sorted(card.holdings, key=lambda one: (-(one.memory or 0), one.who))
    return replace(card, holdings=tuple(held[:SHOWN]))


def _cuda_number(version: str) -> int | None:
    major, _, minor = version.partition(".")
    return int(major) * 1000 + int(minor) * 10 if major.isdecimal() and minor.isdecimal() else None
