"""Commands that lead to the web admin: each gives a link that signs the sender in there."""

from __future__ import annotations

from bridge.conversations.asked import Asked, Command, Commands, Reply


def _to(page: str) -> Command:
    def run(asked: Asked) -> Reply:
        return Reply("", sign_in=lambda links: links.text(asked.who, page))

    return run


COMMANDS: Commands = {
    "web": (_to("me"), "a link to your page: files, conversations, settings"),
    "login": (_to("claude"), "a link to where you sign in to Claude with your own account"),
}
