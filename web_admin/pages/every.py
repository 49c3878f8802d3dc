"""All pages there are."""

from __future__ import annotations

from web_admin.entry.routes import Page
from web_admin.pages.audit import Audit
from web_admin.pages.claude import Claude
from web_admin.pages.conversations import Conversations
from web_admin.pages.decisions import Decisions
from web_admin.pages.desk import Desk
from web_admin.pages.me import Me
from web_admin.pages.modes import Modes
from web_admin.pages.overview import Overview
from web_admin.pages.people import People
from web_admin.pages.settings import Settings
from web_admin.pages.sign_in import SignIn
from web_admin.pages.statics import Statics
from web_admin.pages.usage import Usage
from web_admin.pages.welcome import Welcome
from web_admin.pages.workspaces import Workspaces


def every(desk: Desk) -> list[Page]:
    """In no order that matters."""
    folders = (
        Audit(desk),
        Claude(desk),
        Conversations(desk),
        Decisions(desk),
        Me(desk),
        Modes(desk),
        Overview(desk),
        People(desk),
        Settings(desk),
        SignIn(desk),
        Usage(desk),
        Welcome(desk),
        Workspaces(desk),
    )
    return [*Statics().pages(), *(page for folder in folders for page in folder.pages())]
