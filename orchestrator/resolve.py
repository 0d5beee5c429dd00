"""A profile joined with its environment: the deployment that should run. Pure."""

from collections.abc import Mapping

from orchestrator.model import Deployment, Environment, Policy, Profile, Spec


def resolve(
    profile: Profile, environment: Environment, secrets: Mapping[str, str], given: tuple[str, ...] = ()
) -> Deployment:
    """``secrets`` maps the environment's secret names to keyed hashes of their present values."""
    spec = Spec(
        model=profile.model,
        serve=profile.serve,
        runtime=environment.runtime,
        gpus=profile.gpus,
        cuda_home=environment.cuda_home,
        hf_home=environment.hf_home,
        env=dict(environment.env),
        secrets=dict(secrets),
        drain=profile.drain,
    )
    return Deployment(
        name=profile.name,
        environment=environment.name,
        spec=spec,
        policy=Policy(profile.ready_timeout, profile.restart),
        secret_refs=dict(environment.secrets),
        given=given,
        source=profile.source,
        profile_text=profile.text,
        environment_text=environment.text,
    )
