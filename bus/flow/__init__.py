"""Windows, limits, lanes and backoff as values: no task, no clock and no chance of their own."""

from bus.flow.backoff import Chance, Delays, backoff_s
from bus.flow.credits import Credits
from bus.flow.lanes import Lanes, Step, lane_of
from bus.flow.rates import TokenBucket

__all__ = ["Chance", "Credits", "Delays", "Lanes", "Step", "TokenBucket", "backoff_s", "lane_of"]
