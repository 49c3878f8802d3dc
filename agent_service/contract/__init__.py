"""The only door to the agent service: turns, events, decisions, errors, signing, redaction.

Frozen dataclasses on the standard library (signing adds itsdangerous), so that any process can
import it cheaply. The HTTP interface that carries them is described by `GET /v1/openapi.json`.
"""

from agent_service.contract import errors, events, redaction, signing
from agent_service.contract.decisions import (
    Answer,
    Decision,
    DecisionAnswer,
    DecisionKind,
    DecisionState,
    DecisionView,
    Question,
    QuestionOption,
)
from agent_service.contract.turns import (
    ID_PATTERN,
    PROMPT_LIMIT,
    Asker,
    ConversationView,
    Limits,
    Mode,
    Outcome,
    QuotedText,
    TurnRequest,
    TurnState,
    TurnView,
)

__all__ = [
    "ID_PATTERN",
    "PROMPT_LIMIT",
    "Answer",
    "Asker",
    "ConversationView",
    "Decision",
    "DecisionAnswer",
    "DecisionKind",
    "DecisionState",
    "DecisionView",
    "Limits",
    "Mode",
    "Outcome",
    "Question",
    "QuestionOption",
    "QuotedText",
    "TurnRequest",
    "TurnState",
    "TurnView",
    "errors",
    "events",
    "redaction",
    "signing",
]
