"""What `/metrics` tells: counts and times without any value that a client sent.

Labels are closed sets (stage, status, reason, kind), never a tenant's, a person's or an argument's name.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

_STAGE_SECONDS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
_BOUNDS = (*map(str, _STAGE_SECONDS), "+Inf")


class Metrics:
    """The counters of one gateway."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._stages = _Stages()
        self.registry.register(self._stages)
        self._answers = Counter(
            "lockgate_answers", "Answers by status and reason", ["status", "reason"], registry=self.registry
        )
        self._known: dict[tuple[int, str], Counter] = {}
        self._incidents = Counter("lockgate_incidents", "Incidents by kind", ["kind"], registry=self.registry)
        self._reconciled = Counter(
            "lockgate_reconciled", "Outcomes settled by the sweeper", ["state"], registry=self.registry
        )
        self.in_flight = Gauge("lockgate_calls_in_flight", "Calls being handled", registry=self.registry)
        self.capacity = Gauge("lockgate_capacity", "Requests that may be under way at once", registry=self.registry)
        self.open_intents = Gauge("lockgate_open_intents", "Intents without outcome", registry=self.registry)
        self.lines_dropped = Gauge("lockgate_log_lines_dropped", "Log lines never written", registry=self.registry)
        self.stage = self._stages.observe
        """Record the time of a stage that went on."""

    def answered(self, status: int, reason: str) -> None:
        """Count an answer."""
        counter = self._known.get((status, reason))
        if counter is None:
            counter = self._known[status, reason] = self._answers.labels(str(status), reason)
        counter.inc()

    def incident(self, kind: str) -> None:
        """Count something that an operator must look at."""
        self._incidents.labels(kind).inc()

    def reconciled(self, state: str) -> None:
        """Count an outcome that was found out later."""
        self._reconciled.labels(state).inc()

    def text(self) -> bytes:
        """The exposition format of Prometheus."""
        return generate_latest(self.registry)


class _Stages(Collector):
    """A histogram of one event loop: the package's own takes a lock for each bucket, twelve times a call."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def observe(self, stage: str, seconds: float) -> None:
        counts = self._counts.get(stage)
        if counts is None:
            counts = self._counts[stage] = [0] * len(_BOUNDS)
            self._seconds[stage] = 0.0
        counts[bisect_left(_STAGE_SECONDS, seconds)] += 1
        self._seconds[stage] += seconds

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily("lockgate_stage_seconds", "Time in each stage", labels=["stage"])
        for stage, counts in self._counts.items():
            buckets = list(zip(_BOUNDS, accumulate(counts), strict=True))
            family.add_metric([stage], buckets=buckets, sum_value=self._seconds[stage])
        yield family
