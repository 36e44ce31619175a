"""Whom to ask, how often, and when to refuse: state machines without a task, a clock or chance of their own."""

from bus.services.balancing.admission import AdaptiveAdmission, AdmissionSettings
from bus.services.balancing.breaker import Breaker, Gate, OpenTimes
from bus.services.balancing.budget import BudgetSettings, RetryBudget
from bus.services.balancing.latency import LatencyHistogram, PeakEwma
from bus.services.balancing.limit import GradientLimit, LimitSettings
from bus.services.balancing.outliers import OutlierSettings
from bus.services.balancing.picker import BalancedPicker, InstanceView
from bus.services.balancing.ring import Ring
from bus.services.balancing.settings import BalancingSettings

__all__ = [
    "AdaptiveAdmission",
    "AdmissionSettings",
    "BalancedPicker",
    "BalancingSettings",
    "Breaker",
    "BudgetSettings",
    "Gate",
    "GradientLimit",
    "InstanceView",
    "LatencyHistogram",
    "LimitSettings",
    "OpenTimes",
    "OutlierSettings",
    "PeakEwma",
    "RetryBudget",
    "Ring",
]
