"""What the service counts for Prometheus. docs/metrics.md says what each number means; a test holds
it to what is served."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from agent_service.broker.broker import Answered
from agent_service.turns.pool import SessionPool
from agent_service.turns.port import Ended

MOST_MODELS = 30
"""Names of models that are told apart: they come from outside. All others are `other`."""
STATES = ("queued", "running", "waiting")


class Metrics:
    """One a service, with a registry of its own. Counters begin at 0 with the process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._turns = Counter(
            "bascule_agent_turns",
            "Turns that ended, by outcome.",
            ["outcome"],
            registry=self._registry,
        )
        self._usd = Counter(
            "bascule_agent_model_usd",
            "US dollars that the model cost.",
            ["model"],
            registry=self._registry,
        )
        self._answers = Counter(
            "bascule_agent_model_answers",
            "Answers of the model.",
            ["model"],
            registry=self._registry,
        )
        self._tokens = Counter(
            "bascule_agent_model_tokens",
            "Tokens, by what they were.",
            ["model", "kind"],
            registry=self._registry,
        )
        self._open = Gauge(
            "bascule_agent_turns_open",
            "Turns that are not over, by state.",
            ["state"],
            registry=self._registry,
        )
        self._decisions = Gauge(
            "bascule_agent_decisions_waiting",
            "Decisions that nobody has answered.",
            registry=self._registry,
        )
        self._sessions = Gauge(
            "bascule_agent_sessions",
            "Claude processes that are up.",
            registry=self._registry,
        )
        self._memory = Gauge(
            "bascule_agent_sessions_bytes",
            "Memory that they hold for themselves.",
            registry=self._registry,
        )
        self._models: set[str] = set()

    def ended(self, ended: Ended) -> None:
        """A turn is over."""
        self._turns.labels(ended.outcome).inc()

    def answered(self, answer: Answered) -> None:
        """The model answered."""
        model = self._model(answer.model)
        self._usd.labels(model).inc(answer.cost_usd)
        self._answers.labels(model).inc()
        for kind in ("input", "cache_write", "cache_read", "output"):
            self._tokens.labels(model, kind).inc(getattr(answer.tokens, kind))

    def _model(self, name: str) -> str:
        if name not in self._models and len(self._models) >= MOST_MODELS:
            return "other"
        self._models.add(name)
        return name

    def watch(self, pool: SessionPool) -> None:
        """The sessions that are counted."""
        self._sessions.set_function(lambda: len(pool))
        self._memory.set_function(pool.held)

    def text(self, open_turns: Mapping[str, int], decisions: int) -> bytes:
        """All of it, with what the database says now."""
        for state in STATES:
            self._open.labels(state).set(open_turns.get(state, 0))
        self._decisions.set(decisions)
        return generate_latest(self._registry)
