"""The OpenAPI 3.1 document of the service, made from the route table."""

from __future__ import annotations

import re
from typing import Any

from openapi_pydantic import OpenAPI
from pydantic import TypeAdapter

from agent_service.contract.turns import ID_PATTERN
from agent_service.http.routes import Route

_PARAMETER = re.compile(r"{(\w+)}")
_REF = "#/components/schemas/{model}"


def document(routes: list[Route], version: str) -> dict[str, Any]:
    """The document as JSON values; it was checked against the OpenAPI 3.1 model."""
    schemas: dict[str, Any] = {"Error": _ERROR}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    made = {
        "openapi": "3.1.1",
        "info": {
            "title": "Bascule agent service",
            "version": version,
            "description": "Every call is signed: see agent_service/contract/signing.py.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "signed": {"type": "apiKey", "in": "header", "name": "Authorization"}
            },
        },
    }
    OpenAPI.model_validate(made)
    return made


_ID = {"type": "string", "pattern": ID_PATTERN}
_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "remedy"],
            "properties": {k: {"type": "string"} for k in ("code", "message", "remedy")},
        }
    },
}


def _schema(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    made = TypeAdapter(kind).json_schema(ref_template=_REF)
    schemas.update(made.pop("$defs", {}))
    if name := made.get("title"):
        schemas[name] = made
        return {"$ref": _REF.format(model=name)}
    return made


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _ID}
        for name in _PARAMETER.findall(route.path)
    ] + [
        {
            "name": name,
            "in": "query",
            "description": text,
            "schema": {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
        }
        for name, text in route.query.items()
    ]
    for texts, required in ((route.texts, False), (route.needs, True)):
        parameters += [
            {
                "name": name,
                "in": "query",
                "description": text,
                "required": required,
                "schema": {"type": "string"},
            }
            for name, text in texts.items()
        ]
    kind = "text/event-stream" if route.stream else route.sends
    answer = {} if route.answer is None else _schema(route.answer, schemas)
    error = {"application/json": {"schema": {"$ref": _REF.format(model="Error")}}}
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__ + "_" + re.sub(r"\W+", "_", route.path).strip("_"),
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "Done.", "content": {kind: {"schema": answer}}},
            "default": {"description": "Refused or failed.", "content": error},
        },
        "security": [] if route.public else [{"signed": []}],
    }
    if not route.public:
        operation["description"] = "Callers: " + ", ".join(sorted(route.callers)) + "."
    if route.upload:
        operation["requestBody"] = {"required": True, "content": {"application/octet-stream": {}}}
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _schema(route.body, schemas)}},
        }
    return operation
