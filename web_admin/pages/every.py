"""All pages there are."""

from __future__ import annotations

from web_admin.entry.routes import Page
from web_admin.pages.desk import Desk
from web_admin.pages.overview import Overview
from web_admin.pages.sign_in import SignIn
from web_admin.pages.statics import Statics


def every(desk: Desk) -> list[Page]:
    """In no order that matters."""
    return [*Statics().pages(), *SignIn(desk).pages(), *Overview(desk).pages()]
