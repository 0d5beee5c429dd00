"""One look through the ports: what the record adds to what is seen."""

from dataclasses import replace
from typing import Any, cast

from builders import remembered, running, wanted

from orchestrator.model import Endpoint, Instance, Phase, Record
from orchestrator.observe import observe
from orchestrator.ports import Answer, Eyes

Q = wanted()


class World:
    """Every port at once; it answers whatever it is asked."""

    project = "lab-1234"

    def __init__(self, instance: Instance, record: Record) -> None:
        self.instance, self.record = instance, record
        self.asked: list[Endpoint] = []

    def records(self) -> dict[str, Record]:
        return {self.record.name: self.record}

    def list(self, *_: object) -> tuple[Instance, ...]:
        return (self.instance,)

    def ended(self, *_: object) -> None:
        return None

    def tail(self, *_: object) -> tuple[str, ...]:
        return ()

    def inventory(self) -> None:
        return None

    def watcher(self) -> None:
        return None

    def ask(self, endpoint: Endpoint, *_: object) -> Answer:
        self.asked.append(endpoint)
        return Answer(True)


def look(instance: Instance, record: Record) -> tuple[World, Instance]:
    world = World(instance, record)
    port = cast(Any, world)
    return world, observe(Eyes(port, port, port, port, port, port, port, port, port, port)).instances[0]


def test_a_spec_that_cannot_be_read_is_that_of_the_recorded_start() -> None:
    world, found = look(running(Q, spec=None), remembered(Q))
    assert found.spec == Q.spec
    assert found.phase is Phase.READY
    assert world.asked == [Endpoint("127.0.0.1", Q.spec.serve.port)]


def test_the_record_of_another_start_says_nothing() -> None:
    record = remembered(Q)
    assert record.attempt is not None
    _, found = look(running(Q, spec=None), replace(record, attempt=replace(record.attempt, id="00002-other")))
    assert found.spec is None


def test_what_it_carries_itself_comes_first() -> None:
    _, found = look(running(wanted(port=8001)), remembered(Q))
    assert found.spec == wanted(port=8001).spec
