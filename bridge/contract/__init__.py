"""The only door to the bridge: people, conversations, decisions, status, sign-in links.

Frozen dataclasses on the standard library (links add itsdangerous). They are carried by signed
calls (`agent_service.contract.signing`, audience `AUDIENCE`) over the bridge's Unix socket, and
refused as `agent_service.contract.errors` are.
"""

from bridge.contract import links
from bridge.contract.conversations import (
    MESSAGES,
    ConversationDetail,
    ConversationsPage,
    ConversationState,
    ConversationView,
    GiveDecision,
    MessageState,
    MessageView,
    WaitingDecision,
)
from bridge.contract.people import (
    NAME_LIMIT,
    PAGE,
    AccessRuleView,
    AccountView,
    By,
    ClaimView,
    EndPerson,
    GivenRole,
    LetIn,
    LinkState,
    NewAccessRule,
    NewClaim,
    PeoplePage,
    PersonView,
    RemoveAccount,
    Role,
    RuleKind,
    Said,
    SetRole,
    StrangerView,
)
from bridge.contract.status import (
    AdapterView,
    BridgeStatus,
    CheckView,
    FieldView,
    PartView,
)

AUDIENCE = "bridge:main"
"""What callers sign for."""

__all__ = [
    "AUDIENCE",
    "MESSAGES",
    "NAME_LIMIT",
    "PAGE",
    "AccessRuleView",
    "AccountView",
    "AdapterView",
    "BridgeStatus",
    "By",
    "CheckView",
    "ClaimView",
    "ConversationDetail",
    "ConversationState",
    "ConversationView",
    "ConversationsPage",
    "EndPerson",
    "FieldView",
    "GiveDecision",
    "GivenRole",
    "LetIn",
    "LinkState",
    "MessageState",
    "MessageView",
    "NewAccessRule",
    "NewClaim",
    "PartView",
    "PeoplePage",
    "PersonView",
    "RemoveAccount",
    "Role",
    "RuleKind",
    "Said",
    "SetRole",
    "StrangerView",
    "WaitingDecision",
    "links",
]
