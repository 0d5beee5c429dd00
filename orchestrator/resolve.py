"""A profile joined with its environment: the deployment that should run. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.errors import InputError
from orchestrator.model import Deployment, Environment, Policy, Profile, Serve, Spec


def resolve(
    profile: Profile, environment: Environment, secrets: Mapping[str, str], given: tuple[str, ...] = ()
) -> Deployment:
    """``secrets`` maps the environment's secret names to keyed hashes of their present values."""
    spec = Spec(
        model=profile.model,
        serve=_serve(profile),
        runtime=environment.runtime,
        gpus=profile.gpus,
        cuda_home=environment.cuda_home,
        hf_home=environment.hf_home,
        env=dict(environment.env),
        secrets=dict(secrets),
        drain=profile.drain,
        backend=environment.backend,
    )
    return Deployment(
        name=profile.name,
        environment=environment.name,
        spec=spec,
        policy=Policy(profile.ready_timeout, profile.restart, environment.transfer, environment.libcuda, profile.fit),
        secret_refs=dict(environment.secrets),
        given=given,
        source=profile.source,
        profile_text=profile.text,
        environment_text=environment.text,
    )


def _serve(profile: Profile) -> Serve:
    """``tensor_parallel_size: auto`` is what the named GPUs leave for each pipeline stage. Where their number is left
    to orch, too, it stays open: the model decides (`fitting`)."""
    serve = profile.serve
    if serve.tensor_parallel_size != "auto" or profile.gpus == "auto":
        return serve
    at = profile.source.at("serve", "tensor_parallel_size")
    what = f"work out tensor_parallel_size of {profile.name}"
    count = profile.gpus if isinstance(profile.gpus, int) else len(profile.gpus)
    if count % serve.pipeline_parallel_size:
        why = f"{count} GPUs do not divide into {serve.pipeline_parallel_size} pipeline stages"
        raise InputError(what, why, "change gpus or pipeline_parallel_size", at)
    return replace(serve, tensor_parallel_size=max(1, count // serve.pipeline_parallel_size))


def is_open(wanted: Deployment) -> bool:
    """Whether the number of its cards is still to be chosen."""
    return wanted.spec.serve.tensor_parallel_size == "auto"


def sized(wanted: Deployment, size: int) -> Deployment:
    serve = replace(wanted.spec.serve, tensor_parallel_size=size)
    return replace(wanted, spec=replace(wanted.spec, serve=serve))


def as_before(wanted: Deployment, known: Spec | None) -> Deployment:
    """An open number is that of what is ``known``, as long as nothing else that decides it differs: what was learnt
    since moves nothing that runs."""
    if known is None or not is_open(wanted) or known.serve.tensor_parallel_size == "auto":
        return wanted
    spec = wanted.spec
    commit = spec.commits.get("model", known.commits.get("model"))
    same = (spec.model, spec.gpus, commit) == (known.model, known.gpus, known.commits.get("model"))
    same = same and _deciding(spec.serve) == _deciding(known.serve)
    return sized(wanted, known.serve.tensor_parallel_size) if same else wanted


def _deciding(serve: Serve) -> Serve:
    return replace(serve, tensor_parallel_size="auto", names=(), host="", port=0)
