"""Who answers for a gRPC service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from bus.services.protocol import Health, Seen
from bus.telemetry.counters import Counters
from gateway.grpc.routes import Owner, Routes, Target
from gateway.grpc.status import RpcFailed, Status
from schemas.clock import FakeClock
from tests.unit.gateway.grpc.world import RESULTS, seen

GET = f"/{RESULTS}/GetResult"


class World:
    def __init__(
        self, configured: Mapping[str, str] | None = None, described: Sequence[str] = ()
    ) -> None:
        self.services: dict[str, tuple[Seen, ...]] = {}
        self.clock = FakeClock()
        self.counters = Counters()
        self.looks = 0
        self.routes = Routes(
            configured or {},
            self.look,
            is_described=lambda name: name in described,
            clock=self.clock,
            counters=self.counters,
        )

    def look(self) -> Mapping[str, Sequence[Seen]]:
        self.looks += 1
        return self.services

    def run(self, *instances: Seen) -> None:
        self.services = {}
        for one in instances:
            name = one.instance.service
            self.services[name] = (*self.services.get(name, ()), one)
        self.clock.advance(2)

    def refusal(self, path: str = GET) -> RpcFailed:
        with pytest.raises(RpcFailed) as caught:
            self.routes.target(path)
        return caught.value


def test_a_service_is_found_by_what_it_says_of_itself() -> None:
    world = World()
    world.run(seen(grpc="lab.v1.Orders, lab.v1.Results"))
    assert world.routes.target(GET) == Target(Owner("lab"), "get_result")


def test_a_new_service_is_found_soon_and_known_ones_without_looking_again() -> None:
    world = World()
    world.run()
    assert world.refusal().status is Status.UNIMPLEMENTED
    world.services = {"lab": (seen(),)}
    world.clock.advance(0.06)
    world.routes.target(GET)
    looks = world.looks
    for _ in range(100):
        world.routes.target(GET)
        world.clock.advance(0.005)
    assert world.looks == looks


def test_unknown_names_do_not_make_it_look_each_time() -> None:
    world = World()
    world.run(seen())
    for number in range(1000):
        world.refusal(f"/no.Such{number}/Method")
    assert world.looks < 5


def test_the_newest_major_version_answers() -> None:
    world = World()
    world.run(seen(version="1.4.0"), seen(version="2.0.0", id="i2"), seen(version="1.9.0", id="i3"))
    assert world.routes.target(GET).owner == Owner("lab", 2)
    assert str(Owner("lab", 2)) == "lab.v2"


def test_the_configuration_comes_before_what_services_say() -> None:
    world = World({RESULTS: "archive.v3"})
    world.run(seen(), seen("archive", version="3.1.0", grpc="", methods=("getresult",), id="a1"))
    assert world.routes.target(GET) == Target(Owner("archive", 3), "getresult")


def test_where_two_services_claim_a_name_nobody_gets_it() -> None:
    world = World()
    world.run(seen(), seen("intruder", id="x1"))
    assert world.refusal().reason == "route_conflict"
    assert not world.routes.is_serving(RESULTS)
    assert world.counters.get("grpc_route_conflict") == 1
    world.run(seen())
    assert world.routes.target(GET).owner == Owner("lab")


def test_a_conflict_is_settled_by_the_configuration() -> None:
    world = World({RESULTS: "lab"})
    world.run(seen(), seen("intruder", id="x1"))
    assert world.routes.target(GET).owner == Owner("lab")


def test_words_that_nobody_signed_are_not_believed() -> None:
    world = World()
    world.run(seen(protocol="nats-micro"))
    assert world.refusal().status is Status.UNIMPLEMENTED


def test_a_service_that_went_away_is_still_known() -> None:
    world = World()
    world.run(seen())
    world.routes.target(GET)
    world.run()
    assert world.routes.target(GET).owner == Owner(
        "lab"
    )  # the call itself says that nobody is there
    assert not world.routes.is_serving(RESULTS)


def test_a_described_service_without_owner_is_unavailable_not_unknown() -> None:
    world = World(described=[RESULTS])
    world.run()
    assert world.refusal().status is Status.UNAVAILABLE


@pytest.mark.parametrize(
    ("health", "is_serving"),
    [
        (Health.HEALTHY, True),
        (Health.SUSPECT, True),
        (Health.EJECTED, False),
        (Health.DRAINING, False),
        (Health.GONE, False),
    ],
)
def test_it_serves_while_an_instance_may_be_asked(health: Health, is_serving: bool) -> None:
    world = World({RESULTS: "lab"})
    world.run(seen(health=health))
    assert world.routes.is_serving(RESULTS) is is_serving


def test_a_service_describes_its_own_names_and_no_others() -> None:
    world = World({"lab.v1.Orders": "lab"})
    world.run(seen(schema="aa, bb"), seen("other", grpc="x.Y", schema="aa", id="o1"))
    assert world.routes.schemas() == {
        "aa": {RESULTS, "lab.v1.Orders", "x.Y"},
        "bb": {RESULTS, "lab.v1.Orders"},
    }
