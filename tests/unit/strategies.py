"""Hypothesis strategies for the model's values: small alphabets, so that two draws are often nearly the same."""

from typing import Any

from hypothesis import strategies as st

from orchestrator.codec import digest
from orchestrator.model import (
    Attempt,
    Deployment,
    Intent,
    ModelRef,
    Policy,
    Record,
    Rejected,
    Restart,
    Revision,
    RuntimeSpec,
    SecretRef,
    Serve,
    Spec,
)

text = st.text(max_size=6)
words = st.sampled_from(("a", "b", "c-d", "e_f", "ü", "x.y"))
names = st.sampled_from(("alpha", "beta", "gamma", "delta"))
seconds = st.floats(0, 1e9)
scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | text
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2), max_leaves=4
)
key_ids = st.sampled_from(("k1", "k2"))
secret_hashes = st.builds("{}:{}".format, key_ids, st.sampled_from(("aa", "bb")))


def tuples(of: st.SearchStrategy[str] = words) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(of, max_size=3).map(tuple)


models = st.builds(ModelRef, repo=words, revision=st.none() | words, quantization=st.none() | words) | st.builds(
    ModelRef, path=words
)
serves = st.builds(
    Serve,
    names=tuples(),
    host=words,
    port=st.integers(1, 65535),
    tensor_parallel_size=st.just("auto") | st.integers(1, 8),
    pipeline_parallel_size=st.integers(1, 4),
    max_model_len=st.none() | st.integers(1, 1 << 20),
    gpu_memory_utilization=st.none() | st.floats(0.01, 1),
    args=st.dictionaries(words, json_values, max_size=3),
)
runtimes = st.builds(
    RuntimeSpec,
    kind=st.sampled_from(("venv", "conda", "self", "requirements")),
    where=words,
    requirements=tuples(),
    find_links=tuples(),
    python=words,
)
specs = st.builds(
    Spec,
    model=models,
    serve=serves,
    runtime=runtimes,
    gpus=st.just("auto") | st.integers(0, 8) | tuples(),
    cuda_home=st.none() | words,
    hf_home=st.none() | words,
    env=st.dictionaries(words, text, max_size=3),
    secrets=st.dictionaries(words, secret_hashes, max_size=2),
    drain=seconds,
    commits=st.dictionaries(st.sampled_from(("model", "tokenizer")), words, max_size=2),
)
policies = st.builds(
    Policy,
    ready_timeout=seconds,
    restart=st.builds(Restart, policy=st.sampled_from(("never", "on-failure", "always")), attempts=st.integers(0, 9)),
    transfer=st.sampled_from(("auto", "xet", "ranged", "hf_transfer")),
)
deployments = st.builds(
    Deployment,
    name=names,
    environment=words,
    spec=specs,
    policy=policies,
    secret_refs=st.dictionaries(words, st.builds(SecretRef, kind=st.sampled_from(("env", "file")), name=words)),
    given=tuples(),
    profile_text=text,
    environment_text=text,
)
revisions = st.builds(
    Revision,
    number=st.integers(1, 99),
    digest=specs.map(digest),
    deployment=deployments,
    at=seconds,
    user=words,
    ready_seconds=seconds,
)
attempts = st.builds(
    Attempt,
    id=words,
    pid=st.integers(1, 1 << 22),
    start=st.integers(0, 1 << 40),
    boot=words,
    at=seconds,
    deployment=deployments,
    ready_at=st.none() | seconds,
    ended=text,
)
records = st.builds(
    Record,
    name=names,
    intent=st.sampled_from(Intent),
    revision=st.none() | revisions,
    attempt=st.none() | attempts,
    rejected=st.lists(st.builds(Rejected, digest=words, why=text, at=seconds), max_size=2).map(tuple),
    because=text,
)


def reordered(value: Any) -> Any:
    """The same JSON value with every object's keys the other way round."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value
