"""The CLI's requests that are no turn of the conversation: titles, topics, summaries of pages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agent_service.testing.request import Request


def side_answer(request: Request, headers: Mapping[str, str]) -> str | None:
    """A harmless answer, or None where the request is a turn that a script decides.

    Such a request comes from the CLI, offers no tools and names no working directory.
    """
    if not headers.get("User-Agent", "").startswith("claude-cli"):
        return None
    if request.tools or request.cwd:
        return None
    format_ = request.body.get("output_config", {}).get("format", {})
    if format_.get("type") == "json_schema":
        return json.dumps(_example(format_.get("schema", {})))
    return "A scripted answer to a request of the CLI's own."


def _example(schema: Mapping[str, Any]) -> Any:
    """The smallest value of a JSON schema, as far as the CLI's schemas go."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {key: _example(value) for key, value in schema.get("properties", {}).items()}
        case "array":
            return []
        case "boolean":
            return False
        case "integer" | "number":
            return 0
        case _:
            return "Scripted"
