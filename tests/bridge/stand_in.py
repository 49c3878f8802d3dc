"""The smallest presentation: one post of the text so far, a card a decision, a word at the end."""

from __future__ import annotations

from adapters.contract import Choice, MessageOut
from agent_service.contract import events


class StandIn:
    def __init__(self, text_limit: int) -> None:
        self.limit = text_limit
        self.done: list[str] = []
        self.open = ""
        self.cards: dict[str, MessageOut] = {}
        self.end: events.TurnFinished | None = None
        self.over = False

    def apply(self, event) -> None:
        match event:
            case events.TextDelta(text):
                self.open += text
            case events.Text(text):
                self.done.append(text)
                self.open = ""
            case events.DecisionRequested(asked):
                self.cards[asked.id] = MessageOut(
                    asked.shown,
                    tone="decision",
                    choices=tuple(Choice(f"d:{asked.id}:{w}", w) for w in ("allow", "deny")),
                )
            case events.DecisionResolved(id=key, state=state):
                self.cards[key] = MessageOut(
                    f"{self.cards[key].markdown} ({state})", tone="decision"
                )
            case events.TurnFinished():
                self.end = event

    def posts(self):
        found = [(f"d-{key}", card) for key, card in self.cards.items()]
        text = "\n".join([*self.done, *([self.open] if self.open else [])])
        if text:
            found.insert(0, ("0", MessageOut(text, final=self.end is not None)))
        if self.end is not None and self.end.outcome != "completed":
            found.append(
                ("end", MessageOut(f"{self.end.outcome}: {self.end.message}", tone="error"))
            )
        return found

    def status(self) -> str:
        return "Writing…"
