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
    """``tensor_parallel_size: auto`` is what the named GPUs leave for each pipeline stage."""
    serve = profile.serve
    if serve.tensor_parallel_size != "auto":
        return serve
    at = profile.source.at("serve", "tensor_parallel_size")
    what = f"work out tensor_parallel_size of {profile.name}"
    if profile.gpus == "auto":
        raise InputError(what, "auto needs a number of GPUs to divide", "say how many: `gpus: 2`", at)
    count = profile.gpus if isinstance(profile.gpus, int) else len(profile.gpus)
    if count % serve.pipeline_parallel_size:
        why = f"{count} GPUs do not divide into {serve.pipeline_parallel_size} pipeline stages"
        raise InputError(what, why, "change gpus or pipeline_parallel_size", at)
    return replace(serve, tensor_parallel_size=max(1, count // serve.pipeline_parallel_size))
