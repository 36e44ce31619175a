"""3 000 runs of groups under faults: members come, go, die, stop and lose their link; the server restarts.

In each: nothing is lost, nobody works where another one works, order holds, fences only grow, and in the end every
partition is worked and nothing moves any more.
"""

from __future__ import annotations

import pytest

from tests.simulation.group import Hand, World

RUNS = 3000
CHUNKS = 30
FAULTS_S = 9.0
SETTLED_S = 60.0


class Run:
    """One seeded run."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed, partitions=5)
        self.chance = self.world.simulation.chance
        self.left = self.chance.randrange(20, 50)

    def go(self) -> World:
        world, simulation = self.world, self.world.simulation
        for _ in range(self.chance.randrange(1, 4)):
            Hand(world)
        world.weather.loss = self.chance.choice((0.0, 0.0, 0.02, 0.1))
        world.weather.late = self.chance.choice((0.0, 0.02, 0.1, 0.3))
        world.weather.lag = self.chance.choice((0.0, 0.0, 0.01, 0.05))
        world.weather.twice = self.chance.choice((0.0, 0.05))
        self._publish()
        for _ in range(self.chance.randrange(1, 9)):
            simulation.after(self.chance.random() * FAULTS_S, self._fault)
        simulation.run(until_s=FAULTS_S)
        self._heal()
        done = simulation.run(
            until_s=FAULTS_S + SETTLED_S, done=lambda: not self.left and world.is_done()
        )
        assert done, "a partition is stuck"
        world.check_effects()
        self._check_quiet()
        return world

    def _publish(self) -> None:
        world = self.world
        if not self.left:
            return
        self.left -= 1
        world.publish(self.chance.choice(world.partitions))
        world.simulation.after(self.chance.random() * 0.8, self._publish)

    def _alive(self) -> list[Hand]:
        return [hand for hand in self.world.hands if not hand.process.is_dead]

    def _fault(self) -> None:
        alive = self._alive()
        hand = self.chance.choice(alive) if alive else None
        what = self.chance.choice(("join", "leave", "kill", "pause", "pause", "cut", "restart"))
        if hand is None or what == "join":
            if len(alive) < 5:
                Hand(self.world)
        elif what == "leave":
            hand.leave()
        elif what == "kill":
            hand.process.kill()
        elif what == "pause":
            hand.process.pause()
            self.world.simulation.after(self.chance.random() * 6, hand.process.resume)
        elif what == "cut":
            hand.cut()
            self.world.simulation.after(self.chance.random() * 6, hand.heal)
        else:
            self._restart()

    def _restart(self) -> None:
        """The server dies and comes back: requests that stood there are gone, what was written stays."""
        world = self.world
        world.server.is_up = False
        for place in world.places.values():
            place.requests.clear()

        def back() -> None:
            world.server.is_up = True
            for hand in world.hands:
                if hand.link.is_up:
                    hand.heal()

        world.simulation.after(self.chance.random() * 4, back)

    def _heal(self) -> None:
        """No more faults, and somebody there to work."""
        weather = self.world.weather
        weather.loss = weather.late = weather.lag = weather.twice = 0.0
        if not [hand for hand in self._alive() if not hand.seat.is_gone]:
            Hand(self.world)
        Hand(self.world)

    def _check_quiet(self) -> None:
        """Every partition has one owner that is there, and stays where it is."""
        world, simulation = self.world, self.world.simulation
        simulation.run(until_s=simulation.now_s + 7)
        moves = world.moves
        simulation.run(until_s=simulation.now_s + 4)
        assert world.moves == moves, "partitions move although nothing happens"
        owners = {hand.seat.member: hand for hand in self._alive() if hand.seat.member}
        for partition in world.partitions:
            owner = owners[world.records.values[str(partition)].value.owner]
            assert partition in owner.seat.held()


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_group_under_faults_loses_nothing_works_nothing_at_two_places_and_comes_to_rest(
    chunk: int,
) -> None:
    each = RUNS // CHUNKS
    for seed in range(chunk * each, (chunk + 1) * each):
        try:
            Run(seed).go()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
