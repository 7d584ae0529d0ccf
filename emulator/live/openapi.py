"""The control API described in OpenAPI 3.1: what may be asked, and what every answer looks like.

What a fault may be is made from the fault models. `tests/test_api.py` holds the service to this.
"""

from typing import Any, get_args

from emulator.build.known_fault import State
from emulator.checks.fault_words import NUMBER_MAX, types
from emulator.runtime.steering import Phase

Schema = dict[str, Any]
V1 = "/api/v1"
NUMBER: Schema = {"type": "number"}
INTEGER: Schema = {"type": "integer", "minimum": 0}
STRING: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
PHASE: Schema = {"enum": list(get_args(Phase))}


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": False,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _by_name(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


PAIR = _list(INTEGER) | {"minItems": 2, "maxItems": 2}
ERROR = _object({"error": STRING}, {"field": STRING})
FAULT = _object(
    {
        "id": INTEGER,
        "state": {"enum": list(get_args(State))},
        "type": STRING,
        "at_s": NUMBER,
        "until_s": _or_null(NUMBER),
        "ended_s": _or_null(NUMBER),
        "for_s": _or_null(NUMBER),
        "params": {"type": "object"},
        "source": STRING,
        "note": STRING,
        "n": INTEGER,
        "resolved": _list(STRING),
        "applied": _or_null(PAIR),
    }
)
DONE = _object(
    {"extended": BOOLEAN, "faults": _list(FAULT)},
    {"at_s": NUMBER, "applied": PAIR, "warning": STRING, "dry_run": BOOLEAN},
)
PLACED: dict[str, Schema] = {"id": STRING, "at_m": _list(NUMBER)}
RUN = _object(
    {
        "name": STRING,
        "protocol": STRING,
        "runtime": STRING,
        "seed": {"type": "integer"},
        "duration_s": NUMBER,
        "time_scale": NUMBER,
        "phase": PHASE,
        "hosts": PAIR,
        "waits_for": STRING,
        "now_s": NUMBER,
        "folder": STRING,
        "faults_active": INTEGER,
        "numbers": _by_name(_or_null(NUMBER)),
    }
)
USER = _object({**PLACED, "group": STRING, "priority": INTEGER, "cells": _list(STRING)})
PANEL = _object(
    {
        "title": STRING,
        "unit": STRING,
        "curves": _list(_object({"column": STRING, "label": STRING})),
        "marks": _list(_object({"value": NUMBER, "label": STRING})),
        "log": BOOLEAN,
        "left_out": INTEGER,
    }
)
TOPOLOGY = _object(
    {
        "users": _list(USER),
        "base_stations": _list(_object({**PLACED, "servers": _list(STRING)})),
        "servers": _list(_object(PLACED)),
        "age_code": _object({"min_s": NUMBER, "max_s": NUMBER}),
        "tiles": _list(_object({"name": STRING, "label": STRING, "unit": STRING})),
        "panels": _list(PANEL),
    }
)
HISTORY = _object(
    {"at_s": _list(NUMBER), "columns": _by_name(_list(_or_null(NUMBER)))},
)
FAULTS = _object(
    {"phase": PHASE, "faults": _list(FAULT), "cut": _list(_list(STRING)), "now_s": NUMBER}
)
READS: dict[str, tuple[str, Schema]] = {
    f"{V1}/run": ("The run: phase, emulated time, hosts.", RUN),
    f"{V1}/topology": ("Who is where, who hears whom, and what the page shows.", TOPOLOGY),
    f"{V1}/history": ("All curves so far, as columns.", HISTORY),
    f"{V1}/faults": ("Every fault so far, and the radio links that are cut.", FAULTS),
    f"{V1}/fault-types": ("JSON Schema of every fault type.", _by_name({"type": "object"})),
    f"{V1}/openapi.json": ("This document.", {"type": "object"}),
}
DRY_RUN = {
    "name": "dry_run",
    "in": "query",
    "description": "True: only answer whom it would hit.",
    "schema": {"type": "boolean", "default": False},
}
GUARDED = {
    "401": "Token missing or wrong.",
    "403": "Asked from a page of another origin.",
    "421": "The Host is not this machine's.",
}
REFUSED = GUARDED | {
    "409": "Not in this phase of the run or of the fault.",
    "413": "The body is too large.",
    "415": "The body is not declared as JSON.",
    "422": "Bad input, explained in `error`; `field` names the place.",
    "429": "Too many changes at once.",
}
NONE: Schema = {"type": "object", "maxProperties": 0}


def description(has_token: bool) -> dict[str, Any]:
    """Returns the document that /api/v1/openapi.json serves."""
    number = {"name": "id", "in": "path", "required": True, "schema": INTEGER | {"maximum": 999999}}
    injected = {"oneOf": [_fault(name, schema) for name, schema in types().items()]}
    lasts: Schema = {"type": "number", "exclusiveMinimum": 0.0}
    changes = {"type": "object", "properties": {"for_s": lasts}, "not": {"required": ["type"]}}
    no_such = {"404": "There is no such fault."}
    paths: dict[str, Any] = {
        path: {"get": _operation(about, {"200": schema}, GUARDED)}
        for path, (about, schema) in READS.items()
    }
    paths[f"{V1}/faults"] |= {
        "post": _operation(
            "Begin a fault now; the same one again makes it last longer (200).",
            {"200": DONE, "201": DONE},
            REFUSED,
            injected,
        ),
        "delete": _operation("Heal all.", {"200": DONE}, REFUSED),
    }
    paths[f"{V1}/faults"]["post"]["parameters"] = [DRY_RUN]
    paths[f"{V1}/faults/{{id}}"] = {
        "parameters": [number],
        "patch": _operation(
            "Change parameters, or for_s from now on.", {"200": DONE}, REFUSED | no_such, changes
        ),
        "delete": _operation("Heal it.", {"200": DONE}, REFUSED | no_such),
    }
    for verb in ("pause", "resume", "stop"):
        about = f"{verb.capitalize()} the run."
        paths[f"{V1}/run/{verb}"] = {"post": _operation(about, {"200": DONE}, REFUSED, NONE)}
    paths[f"{V1}/stream"] = {
        "get": _operation("Server-sent events: `frame` (droppable), `change`.", {}, GUARDED)
    }
    full = {"description": "Too many viewers.", **_json(ERROR)}
    paths[f"{V1}/stream"]["get"]["responses"] |= {
        "200": {"description": "Never ends.", "content": {"text/event-stream": {}}},
        "503": full,
    }
    page: Schema = {"text/plain": {}, "application/openmetrics-text": {}}
    paths["/metrics"] = {"get": _operation("Prometheus.", {}, GUARDED)}
    paths["/metrics"]["get"]["responses"]["200"] = {"description": "Metrics.", "content": page}
    health = _operation("Open without a token.", {"200": _object({"phase": PHASE})}, GUARDED)
    paths["/healthz"] = {"get": health | {"security": []}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Fresco control", "version": "1"},
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}] if has_token else [],
    }


def _operation(
    about: str, answers: dict[str, Schema], refusals: dict[str, str], body: Schema | None = None
) -> dict[str, Any]:
    responses: dict[str, Any] = {
        status: {"description": "Done.", **_json(schema)} for status, schema in answers.items()
    }
    for status, why in refusals.items():
        responses[status] = {"description": why, **_json(ERROR)}
    operation: dict[str, Any] = {"summary": about, "responses": responses}
    if body is not None:
        operation["requestBody"] = {"required": body is not NONE, **_json(body)}
    return operation


def _json(schema: Schema) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _fault(name: str, schema: dict[str, Any]) -> Schema:
    fields = {
        field: {"maximum": NUMBER_MAX} | spec if spec.get("type") in ("number", "integer") else spec
        for field, spec in schema["properties"].items()
    }
    return {
        "type": "object",
        "properties": {"type": {"const": name}, **fields},
        "required": ["type", *schema["required"]],
        "additionalProperties": False,
    }
