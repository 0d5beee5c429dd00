"""What the watcher makes of vital signs: whom it looks at, and when it says that one hangs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from builders import NOW, remembered, running, wanted

from orchestrator.liveness import Canary, Lane, Member, Sample
from orchestrator.lookout import Lookout, Patient, ask, look, patients
from orchestrator.model import Death, Endpoint, Gpu, Instance, Inventory, Record, SecretRef

Q = wanted()


class Pulse:
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self, sample: Sample | None = None, canary: Canary | None = None) -> None:
        self.told, self.bird = sample or Sample(0.0), canary or Canary(0.0, 1.0, True)
        self.asked: list[tuple[Endpoint, str, str | None]] = []

    def sample(self, instance: Instance, endpoint: Endpoint) -> Sample:
        return self.told

    def canary(self, endpoint: Endpoint, name: str, token: str | None) -> Canary:
        self.asked.append((endpoint, name, token))
        return self.bird


class Cards:
    def __init__(self, inventory: Inventory | None = None) -> None:
        self.shown = inventory

    def inventory(self) -> Inventory | None:
        return self.shown


def serving() -> tuple[Record, Instance]:
    return remembered(Q), running(Q)


def looked(found: Sequence[Patient], sample: Sample, cards: Cards | None = None) -> Any:
    return look(found, Pulse(sample), cards or Cards())


def test_only_what_became_ready_and_lives_is_looked_at() -> None:
    record, instance = serving()
    assert patients([record], [instance]) == ((record, instance),)
    assert patients([record], []) == ()
    assert patients([record], [replace(instance, owned=True)]) == ()
    assert patients([remembered(Q, ready=False)], [instance]) == ()
    known = replace(record, deaths=(Death(instance.marker.attempt, NOW, "it hangs"),))
    assert patients([known], [instance]) == ()


def test_one_that_answers_nothing_for_long_hangs_and_one_look_is_not_long() -> None:
    found, lookout = patients(*([one] for one in serving())), Lookout()
    member = Member(4000, 40000, "API server")
    for number in range(6):
        at = 30.0 * number
        silent = Sample(at, False, "no answer within 5 s", members=(member,))
        assert lookout.saw(found, looked(found, silent), at) == ()
        assert bool(lookout.hung) == (number >= 4), number
    assert "/health: no answer within 5 s" in lookout.hung[found[0][1].marker.attempt]


def test_a_new_start_begins_with_an_empty_history() -> None:
    found, lookout = patients(*([one] for one in serving())), Lookout()
    for number in range(6):
        at = 30.0 * number
        lookout.saw(found, looked(found, Sample(at, False, "refused")), at)
    assert lookout.hung
    lookout.saw((), looked((), Sample(180.0)), 180.0)
    assert not lookout.hung
    lookout.saw(found, looked(found, Sample(210.0, False, "refused")), 210.0)
    assert not lookout.hung


def test_a_canary_is_asked_with_the_key_and_its_answer_counts() -> None:
    refs = {"VLLM_API_KEY": SecretRef("env", "KEY")}
    record = remembered(replace(Q, secret_refs=refs))
    found, lookout = patients([record], [running(Q)]), Lookout()
    for number in range(12):
        at = 30.0 * number
        lookout.saw(found, looked(found, Sample(at, lanes=(Lane(),))), at)
    attempt = found[0][1].marker.attempt
    assert lookout.canaries == {attempt}
    pulse = Pulse(canary=Canary(330.0, 331.0, True))
    eyes = cast(Any, type("Eyes", (), {"host": type("Host", (), {"secret": lambda *_: "sk-1"})()})())
    answer = ask(found[0], pulse, eyes)
    assert pulse.asked == [(Endpoint("127.0.0.1", 8000), "Qwen/Qwen3-32B-AWQ", "sk-1")]
    lookout.heard(found, attempt, answer, 331.0)
    assert not lookout.canaries


def test_a_lost_card_is_told_once() -> None:
    record, instance = serving()
    found, lookout = ((record, replace(instance, gpus=("GPU-22",))),), Lookout()
    whole = Cards(Inventory((Gpu(0, "GPU-22"),)))
    gone = Cards(Inventory((Gpu(0, "GPU-22", trouble="is lost"),)))
    assert lookout.saw(found, looked(found, Sample(0.0), whole), 0.0) == ()
    said = lookout.saw(found, looked(found, Sample(30.0), gone), 30.0)
    assert said == ("qwen: the driver shows no GPU-22 any more, on which it runs; see `orch gpus`",)
    assert lookout.saw(found, looked(found, Sample(60.0), gone), 60.0) == ()
