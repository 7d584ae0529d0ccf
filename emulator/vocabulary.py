"""The words of interactive faults: their JSON Schema, and reading one with explanations.

Everything is made from the models in `faults.py`: HTTP, command line and dashboard cannot drift.
"""

import math
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from emulator.check_faults import suggest
from emulator.faults import AnyFault, Fault

TTL_S, TTL_MAX_S = 30.0, 3600.0  # emulated; of interactive faults
NOTE_MAX, TEXT_MAX = 200, 128  # characters
_models: TypeAdapter[AnyFault] = TypeAdapter(Fault)


class Refused(ValueError):
    """What was asked cannot be done; `status` is HTTP's word for why."""

    def __init__(self, status: int, message: str, field: str = "") -> None:
        super().__init__(message)
        self.status, self.field = status, field


@cache
def types() -> dict[str, dict[str, Any]]:
    """Returns the JSON Schema of every fault, by type, with the fields that people may set."""
    schemas = {}
    whole = _models.json_schema()
    for name, place in whole["discriminator"]["mapping"].items():
        schema = whole["$defs"][place.rpartition("/")[2]]
        fields = {k: v for k, v in schema["properties"].items() if k not in ("at_s", "type")}
        for each in fields.values():
            if "anyOf" in each:  # optional fields: what they are when given
                each |= next(way for way in each.pop("anyOf") if way.get("type") != "null")
        lasts = {"default": TTL_S, "maximum": TTL_MAX_S, "description": "It heals by itself."}
        fields["for_s"] |= lasts
        schemas[name] = {
            "title": name,
            "description": schema.get("description", ""),
            "type": "object",
            "properties": fields,
            "required": [k for k in schema.get("required", []) if k in fields],
        }
    return schemas


def read(given: Mapping[str, Any], now_s: float, ttl_max_s: float | None) -> tuple[AnyFault, str]:
    """Reads a fault as people give it and the note they made; Refused explains what is wrong.

    `ttl_max_s` None: it may last to the end of the run.
    """
    body = dict(given)
    note = body.pop("note", "")
    if not isinstance(note, str) or len(note) > NOTE_MAX:
        raise Refused(422, f"note: a text of at most {NOTE_MAX} characters", "note")
    if "at_s" in body:
        raise Refused(422, "at_s: an interactive fault begins now; leave it out", "at_s")
    for key, value in body.items():
        if len(str(value)) > TEXT_MAX:
            raise Refused(422, f"{key[:TEXT_MAX]}: longer than {TEXT_MAX} characters", key)
    kind = body.get("type")
    if not isinstance(kind, str) or kind not in types():
        close = get_close_matches(str(kind), types(), n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(types())}"
        raise Refused(422, f"type: unknown fault type '{kind}'; {hint}", "type")
    if ttl_max_s is not None:
        body.setdefault("for_s", TTL_S)
    try:
        fault = _models.validate_python({**body, "at_s": now_s})
    except ValidationError as error:
        errors = error.errors(include_url=False)
        field = str(errors[0]["loc"][-1]) if errors[0]["loc"] else ""
        raise Refused(422, "; ".join(_complaint(kind, each) for each in errors), field) from None
    if ttl_max_s is not None and (fault.for_s or math.inf) > ttl_max_s:
        raise Refused(422, f"for_s: at most {ttl_max_s:g} s", "for_s")
    return fault, note


def _complaint(kind: str, error: Any) -> str:
    field = ".".join(str(part) for part in error["loc"] if part != kind)
    if error["type"] == "extra_forbidden":
        return (
            f"{field}: {kind} has no such parameter; {suggest(field, types()[kind]['properties'])}"
        )
    if error["type"] == "missing":
        return f"{field}: {kind} needs it"
    said = error["msg"].removeprefix("Value error, ")
    return f"{field}: {said}" if field else said


def parse(described: Mapping[str, Any]) -> AnyFault:
    """Reads a fault as the journal describes it."""
    return _models.validate_python(described)
