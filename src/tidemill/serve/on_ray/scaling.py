"""How many replicas: Ray Serve's autoscaling by our own queue, as Ray counts no request that comes in at the door."""

import math
from typing import Any

METRIC = "ongoing"
"""Name under which replicas report the requests they hold, running or waiting."""


def by_queue(context: Any) -> tuple[int, dict[str, Any]]:
    """As many replicas as keep `target_ongoing_requests` at each, between the configured minimum and maximum.

    Args:
        context: Ray's `AutoscalingContext`; its metrics are averages over `look_back_period_s`, which damps the answer.
    """
    reported = context.aggregated_metrics.get(METRIC, {})
    if not reported:
        return context.target_num_replicas, context.policy_state
    wanted = math.ceil(sum(reported.values()) / context.config.get_target_ongoing_requests())
    least, most = context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas
    return max(least, min(most, wanted)), context.policy_state
