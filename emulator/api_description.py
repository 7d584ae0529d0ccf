"""The control API described in OpenAPI 3.1, made from the fault models."""

from typing import Any

from emulator.vocabulary import types

READS = {
    "/api/v1/run": "The run: phase, emulated time, hosts.",
    "/api/v1/topology": "Who is where and who hears whom.",
    "/api/v1/history": "All curves so far: at_s and columns.",
    "/api/v1/faults": "Every fault so far, with its state.",
    "/api/v1/fault-types": "JSON Schema of every fault type.",
    "/api/v1/stream": "Server-sent events: `frame` (droppable) and `change` (never dropped).",
    "/healthz": "Open without a token.",
    "/metrics": "Prometheus.",
}
DRY_RUN = {
    "name": "dry_run",
    "in": "query",
    "description": "True: only answer whom it would hit.",
    "schema": {"type": "boolean", "default": False},
}


def description() -> dict[str, Any]:
    """Returns the document that /api/v1/openapi.json serves."""
    answers = {
        "200": {"description": "Done, and how many hosts obey."},
        "401": {"description": "Token missing or wrong."},
        "404": {"description": "No such thing."},
        "409": {"description": "Not in this phase of the run or the fault."},
        "422": {"description": "Bad input, explained in `error`; `field` names the place."},
        "429": {"description": "Too many changes at once."},
    }
    injected = {"oneOf": [_fault(name, schema) for name, schema in types().items()]}
    number = {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}
    paths: dict[str, Any] = {
        path: {"get": {"summary": about, "responses": {"200": {"description": "It."}}}}
        for path, about in READS.items()
    }
    paths["/api/v1/faults"] |= {
        "post": {
            "summary": "Begin a fault now; the same one again makes it last longer (200).",
            "parameters": [DRY_RUN],
            "requestBody": _body(injected),
            "responses": {**answers, "201": {"description": "It began."}},
        },
        "delete": {"summary": "Heal all.", "responses": answers},
    }
    paths["/api/v1/faults/{id}"] = {
        "parameters": [number],
        "patch": {
            "summary": "Change parameters, or for_s from now on.",
            "requestBody": _body({"type": "object"}),
            "responses": answers,
        },
        "delete": {"summary": "Heal it.", "responses": answers},
    }
    for verb in ("pause", "resume", "stop"):
        paths[f"/api/v1/run/{verb}"] = {
            "post": {
                "summary": f"{verb.capitalize()} the run.",
                "requestBody": _body({"type": "object"}),
                "responses": answers,
            }
        }
    return {"openapi": "3.1.0", "info": {"title": "Fresco control", "version": "1"}, "paths": paths}


def _fault(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    properties = {"type": {"const": name}, **schema["properties"]}
    required = ["type", *schema["required"]]
    return {**schema, "properties": properties, "required": required, "additionalProperties": False}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}
