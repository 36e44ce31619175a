"""Windows, limits, lanes and backoff as values: no task, no clock and no chance of their own."""

from bus.flow.aimd_window import AimdWindow
from bus.flow.backoff import Chance, Delays, backoff_s
from bus.flow.credits import Credits
from bus.flow.delay_window import DelayWindow
from bus.flow.distance import Distance
from bus.flow.fair_queue import FairQueue
from bus.flow.lanes import Lanes, Step, lane_of
from bus.flow.priority import Priority
from bus.flow.quotas import Quota, QuotaLimits, Verdict
from bus.flow.rates import TokenBucket
from bus.flow.windows import Window, WindowLimits

__all__ = [
    "AimdWindow",
    "Chance",
    "Credits",
    "DelayWindow",
    "Delays",
    "Distance",
    "FairQueue",
    "Lanes",
    "Priority",
    "Quota",
    "QuotaLimits",
    "Step",
    "TokenBucket",
    "Verdict",
    "Window",
    "WindowLimits",
    "backoff_s",
    "lane_of",
]
