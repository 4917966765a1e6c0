"""What `/metrics` tells: counts and times without any value that a client sent.

Labels are closed sets (stage, status, reason, kind), never a tenant's, a person's or an argument's name.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_STAGE_SECONDS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)


class Metrics:
    """The counters of one gateway."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._stages = Histogram(
            "lockgate_stage_seconds", "Time in each stage", ["stage"], buckets=_STAGE_SECONDS, registry=self.registry
        )
        self._answers = Counter(
            "lockgate_answers", "Answers by status and reason", ["status", "reason"], registry=self.registry
        )
        self._incidents = Counter("lockgate_incidents", "Incidents by kind", ["kind"], registry=self.registry)
        self._reconciled = Counter(
            "lockgate_reconciled", "Outcomes settled by the sweeper", ["state"], registry=self.registry
        )
        self.in_flight = Gauge("lockgate_calls_in_flight", "Calls being handled", registry=self.registry)
        self.open_intents = Gauge("lockgate_open_intents", "Intents without outcome", registry=self.registry)
        self._by_stage = {}  # type: dict[str, object]

    def stage(self, stage: str, seconds: float) -> None:
        """Record the time of a stage that went on."""
        child = self._by_stage.get(stage)
        if child is None:
            child = self._by_stage[stage] = self._stages.labels(stage)
        child.observe(seconds)  # type: ignore[attr-defined]

    def answered(self, status: int, reason: str) -> None:
        """Count an answer."""
        self._answers.labels(str(status), reason).inc()

    def incident(self, kind: str) -> None:
        """Count something that an operator must look at."""
        self._incidents.labels(kind).inc()

    def reconciled(self, state: str) -> None:
        """Count an outcome that was found out later."""
        self._reconciled.labels(state).inc()

    def text(self) -> bytes:
        """The exposition format of Prometheus."""
        return generate_latest(self.registry)
