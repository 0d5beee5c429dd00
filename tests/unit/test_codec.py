"""What is written down is read back the same, in one form, by older and newer versions."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import deployments, json_values, records, reordered, revisions, specs, words

from orchestrator.codec import canonical, digest, from_json, read_spec, to_json, write_spec
from orchestrator.model import Deployment, ModelRef, Record, Revision, RuntimeSpec, Serve, Source, Spec

PLAIN = Spec(ModelRef(repo="a/b"), Serve(), RuntimeSpec("self"))


def _through_text(value: Any) -> Any:
    return from_json(type(value), json.loads(json.dumps(to_json(value))))


@given(specs | deployments | revisions | records)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert _through_text(value) == value


@given(deployments)
def test_fields_that_do_not_compare_are_kept_but_for_positions(value: Deployment) -> None:
    read = _through_text(replace(value, source=Source("profiles/a.yaml", {("name",): (1, 1)})))
    kept = (value.given, value.profile_text, value.environment_text)
    assert (read.given, read.profile_text, read.environment_text) == kept
    assert read.source == Source("")


@given(specs)
def test_a_spec_survives_the_environment_variable_it_travels_in(spec: Spec) -> None:
    assert read_spec(write_spec(spec)) == spec


@given(specs)
def test_the_form_does_not_depend_on_the_order_of_mappings(spec: Spec) -> None:
    serve = replace(spec.serve, args=reordered(spec.serve.args))
    turned = replace(spec, serve=serve, env=reordered(spec.env), secrets=reordered(spec.secrets))
    assert canonical(turned) == canonical(spec)
    assert digest(turned) == digest(spec)


def test_a_field_at_its_default_is_not_written() -> None:
    assert to_json(PLAIN) == {"model": {"repo": "a/b"}, "serve": {}, "runtime": {"kind": "self"}}


@pytest.mark.parametrize(
    ("spec", "changed"),
    [
        (replace(PLAIN, drain=31.0), {"drain": 31.0}),
        (replace(PLAIN, gpus=()), {"gpus": []}),
        (replace(PLAIN, gpus=0), {"gpus": 0}),
        (replace(PLAIN, env={"A": ""}), {"env": {"A": ""}}),
    ],
)
def test_a_field_that_is_merely_empty_is_written(spec: Spec, changed: dict[str, Any]) -> None:
    assert to_json(spec) == to_json(PLAIN) | changed


@given(revisions, words, json_values)
def test_keys_of_a_newer_version_are_ignored(revision: Revision, key: str, value: Any) -> None:
    data = to_json(revision)
    for place in (data, data["deployment"], data["deployment"]["spec"], data["deployment"]["spec"]["model"]):
        place[f"later-{key}"] = value
    assert from_json(Revision, data) == revision


@given(specs, specs)
def test_the_digest_names_all_but_the_secrets_values(one: Spec, other: Spec) -> None:
    same_secrets = replace(other, secrets=dict.fromkeys(one.secrets, "k9:ff"))
    assert (digest(one) == digest(same_secrets)) == (canonical(replace(other, secrets=one.secrets)) == canonical(one))


def test_the_digest_ignores_a_secrets_hash_and_not_its_name() -> None:
    rotated = [replace(PLAIN, secrets={"HF_TOKEN": value}) for value in ("k1:aa", "k1:bb", "k2:aa")]
    assert len({digest(one) for one in rotated}) == 1
    assert digest(rotated[0]) not in {digest(PLAIN), digest(replace(PLAIN, secrets={"OTHER": "k1:aa"}))}


def test_the_digest_takes_any_text() -> None:
    assert digest(replace(PLAIN, env={"A": "\ud800"})) != digest(replace(PLAIN, env={"A": "\ud801"}))


def test_the_digest_of_a_spec_stays_what_it_was() -> None:
    """Else every record's revisions and rejected digests lose their meaning with an upgrade."""
    assert digest(PLAIN) == "3bcefcae417a"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "7",
        "{}",
        '{"schema":1}',
        '{"schema":1,"spec":null}',
        '{"schema":1,"spec":{}}',
        '{"schema":1,"spec":{"model":{},"serve":{},"runtime":{}}}',
        '{"schema":1,"spec":{"model":{},"serve":{},"runtime":{"kind":"magic"}}}',
        '{"schema":1,"spec":{"model":[],"serve":{},"runtime":{"kind":"self"}}}',
        '{"schema":1,"spec":{"model":{},"serve":{},"runtime":{"kind":"self"},"env":[]}}',
        '{"schema":1,"spec":{"model":{},"serve":{"names":"abc"},"runtime":{"kind":"self"}}}',
        '{"schema":1,"spec":{"model":{},"serve":{"port":"8000"},"runtime":{"kind":"self"}}}',
        '{"schema":1,"spec":{"model":{},"serve":{"port":true},"runtime":{"kind":"self"}}}',
        '{"schema":1,"spec":{"model":{},"serve":{},"runtime":{"kind":"self"},"gpus":{}}}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:70] or "empty",
)
def test_what_is_no_spec_is_none(text: str) -> None:
    assert read_spec(text) is None


def test_a_spec_of_a_newer_schema_is_none() -> None:
    data = json.loads(write_spec(PLAIN))
    assert read_spec(json.dumps(data)) == PLAIN
    assert read_spec(json.dumps(data | {"schema": data["schema"] + 1})) is None


@given(specs, json_values, st.data())
def test_a_damaged_spec_is_read_as_a_spec_or_as_none(spec: Spec, value: Any, data: st.DataObject) -> None:
    document = json.loads(write_spec(spec))
    section = data.draw(st.sampled_from([document["spec"], *(document["spec"][key] for key in ("model", "serve"))]))
    section[data.draw(st.sampled_from(["model", "serve", "env", "gpus", "port", "names", "repo", "drain"]))] = value
    read = read_spec(json.dumps(document))
    assert read is None or _through_text(read) == read


@pytest.mark.parametrize("data", [None, [], "x", {}, {"name": 1}, {"name": "a", "attempt": {"id": "x"}}])
def test_what_is_no_record_is_refused(data: Any) -> None:
    with pytest.raises((TypeError, KeyError, ValueError)):
        from_json(Record, data)
