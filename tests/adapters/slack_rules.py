"""What Slack refuses, as its documentation has it: lengths, counts and shapes of blocks."""

from __future__ import annotations

import json
from typing import Any

from tests.adapters.slack_workspace import SlackError

BLOCKS, MARKDOWN, ALL_BLOCKS = 50, 12_000, 13_200


def check_message(args: dict[str, Any]) -> list[dict[str, Any]]:
    """The blocks of a message. Raises `SlackError`."""
    blocks = args.get("blocks") or []
    if isinstance(blocks, str):
        blocks = json.loads(blocks)
    if not blocks and not args.get("text") and not args.get("markdown_text"):
        raise SlackError("no_text")
    check_blocks(blocks)
    if len(blocks) > BLOCKS:
        raise SlackError("invalid_blocks", why="too many")
    if len(json.dumps(blocks, ensure_ascii=False)) > ALL_BLOCKS:
        raise SlackError("msg_blocks_too_long")
    metadata = args.get("metadata")
    if metadata is not None and not (
        isinstance(metadata.get("event_payload"), dict) and metadata.get("event_type")
    ):
        raise SlackError("invalid_metadata_format")
    return blocks


def check_blocks(blocks: list[dict[str, Any]]) -> None:
    ids: list[str] = []
    markdown = 0
    for block in blocks:
        kind = block["type"]
        if kind == "markdown":
            markdown += len(block["text"])
            _must(block["text"] and markdown <= MARKDOWN, "markdown")
        elif kind == "section":
            _must(1 <= len(block["text"]["text"]) <= 3000, "section")
        elif kind == "context":
            _must(1 <= len(block["elements"]) <= 10, "context")
            for element in block["elements"]:
                _text(element, 2000)
        elif kind == "header":
            _text(block["text"], 150)
        elif kind == "actions":
            _must(1 <= len(block["elements"]) <= 25, "actions")
            for element in block["elements"]:
                _button(element)
                ids.append(element["action_id"])
        elif kind == "input":
            _input(block)
        elif kind not in ("divider", "task_card"):
            raise SlackError("invalid_blocks", why=kind)
    _must(len(ids) == len(set(ids)), "action_ids twice")


def check_view(view: dict[str, Any]) -> None:
    """A modal or a home. Raises `SlackError`."""
    if view["type"] == "modal":
        _text(view["title"], 24)
        _text(view["submit"], 24)
        _text(view["close"], 24)
        _must(len(view["private_metadata"]) <= 3000, "private_metadata")
    _must(1 <= len(view["blocks"]) <= 100, "blocks of a view")
    _must(all(block["type"] != "markdown" for block in view["blocks"]), "markdown in a view")
    check_blocks(view["blocks"])


def _button(element: dict[str, Any]) -> None:
    _must(element["type"] == "button", "element")
    _text(element["text"], 75)
    _must(len(element["value"]) <= 2000, "value")
    _must(1 <= len(element["action_id"]) <= 255, "action_id")
    _must(element.get("style") in (None, "primary", "danger"), "style")


def _input(block: dict[str, Any]) -> None:
    _text(block["label"], 2000)
    element = block["element"]
    if element["type"] == "plain_text_input":
        _must(element.get("max_length", 1) <= 3000, "max_length")
        return
    _must(element["type"] in ("static_select", "multi_static_select"), element["type"])
    _must(1 <= len(element["options"]) <= 100, "options")
    for option in element["options"]:
        _text(option["text"], 75)
        _must(1 <= len(option["value"]) <= 150, "option value")


def _text(found: dict[str, Any], limit: int) -> None:
    _must(found["type"] in ("plain_text", "mrkdwn"), "text object")
    _must(1 <= len(found["text"]) <= limit, f"text of {len(found['text'])}, not {limit}")


def _must(true: object, why: str) -> None:
    if not true:
        raise SlackError("invalid_blocks", why=why)
