"""The control API described in OpenAPI 3.1: what may be asked, and what every answer looks like.

What is answered is made from `answers.py`, what a fault may be from the fault models.
`tests/test_api.py` holds the service to this.
"""

from typing import Any

import msgspec

from emulator.checks.fault_words import NUMBER_MAX, types
from emulator.live import answers

Schema = dict[str, Any]
V1 = "/api/v1"
READS: dict[str, tuple[str, Any]] = {
    f"{V1}/run": ("The run: phase, emulated time, hosts.", answers.Run),
    f"{V1}/topology": ("Who is where, who hears whom, and what the page shows.", answers.Topology),
    f"{V1}/history": ("All curves so far, as columns.", answers.History),
    f"{V1}/faults": ("Every fault so far, and the radio links that are cut.", answers.Faults),
    f"{V1}/fault-types": ("JSON Schema of every fault type.", dict[str, dict[str, Any]]),
    f"{V1}/openapi.json": ("This document.", dict[str, Any]),
    "/healthz": ("Open without a token.", answers.Health),
}
REF = "#/components/schemas/{name}"
NUMBER = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "integer", "minimum": 0, "maximum": 999_999},
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
FULL = {"503": "Too many viewers."}
NO_SUCH = {"404": "There is no such fault."}
NONE: Schema = {"type": "object", "maxProperties": 0}
CHANGES: Schema = {
    "type": "object",
    "properties": {"for_s": {"type": "number", "exclusiveMinimum": 0.0}},
    "not": {"required": ["type"]},
}


def description(has_token: bool) -> dict[str, Any]:
    """Returns the document that /api/v1/openapi.json serves."""
    paths: dict[str, Any] = {
        path: {"get": _operation(about, {"200": _json(answer)}, GUARDED)}
        for path, (about, answer) in READS.items()
    }
    paths["/healthz"]["get"]["security"] = []
    done = {"200": _json(answers.Done)}
    injected = {"oneOf": [_fault(name, schema) for name, schema in types().items()]}
    inject = "Begin a fault now; the same one again makes it last longer (200)."
    paths[f"{V1}/faults"] |= {
        "post": _operation(inject, done | {"201": done["200"]}, REFUSED, injected)
        | {"parameters": [DRY_RUN]},
        "delete": _operation("Heal all.", done, REFUSED),
    }
    patch = "Change parameters, or for_s from now on."
    paths[f"{V1}/faults/{{id}}"] = {
        "parameters": [NUMBER],
        "patch": _operation(patch, done, REFUSED | NO_SUCH, CHANGES),
        "delete": _operation("Heal it.", done, REFUSED | NO_SUCH),
    }
    for verb in ("pause", "resume", "stop"):
        about = f"{verb.capitalize()} the run."
        paths[f"{V1}/run/{verb}"] = {"post": _operation(about, done, REFUSED, NONE)}
    events = "Server-sent events: `frame` (a Frame; some are left out), `change` (a Change)."
    paths[f"{V1}/stream"] = {
        "get": _operation(events, {"200": {"text/event-stream": {}}}, GUARDED | FULL)
    }
    page: Schema = {"text/plain": {}, "application/openmetrics-text": {}}
    paths["/metrics"] = {"get": _operation("Prometheus.", {"200": page}, GUARDED)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Fresco control", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": _components(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}] if has_token else [],
    }


def _operation(
    about: str,
    done: dict[str, Schema],
    refusals: dict[str, str],
    body: Schema | None = None,
) -> dict[str, Any]:
    """Describes what is done, with the content of each answer, and why it may be refused."""
    responses = {
        status: {"description": "Done.", "content": content} for status, content in done.items()
    }
    for status, why in refusals.items():
        responses[status] = {"description": why, "content": _json(answers.Error)}
    operation: dict[str, Any] = {"summary": about, "responses": responses}
    if body is not None:
        content = {"application/json": {"schema": body}}
        operation["requestBody"] = {"required": body is not NONE, "content": content}
    return operation


def _json(answer: Any) -> Schema:
    """Returns the content of an answer of that type."""
    (schema,), _ = msgspec.json.schema_components((answer,), ref_template=REF)
    return {"application/json": {"schema": schema}}


def _components() -> dict[str, Schema]:
    """Returns the schemas of all that is sent, which is sent whole: with defaults, and no more."""
    sent = [answers.Error, answers.Done, answers.Frame, answers.Change]
    sent += (answer for _, answer in READS.values())
    _, components = msgspec.json.schema_components(sent, ref_template=REF)
    for schema in components.values():
        if "properties" in schema:
            defaults = [name for name, each in schema["properties"].items() if "default" in each]
            schema["required"] += defaults
            schema["additionalProperties"] = False
    return components


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
