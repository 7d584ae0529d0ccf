"""The words of interactive faults: their JSON Schema, and reading one with explanations.

Everything is made from the models in `faults/link_types.py` and `faults/node_types.py`: HTTP,
command line and dashboard cannot drift.
"""

import math
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from emulator.checks.complaints import suggest
from emulator.faults.fold import AnyFault, Fault

TTL_S, TTL_MAX_S = 30.0, 3600.0  # emulated; of interactive faults
TEXT_MAX = 128  # characters, of each value but the note
NUMBER_MAX = 1e12  # of a parameter: what many faults add up to must stay a number
NOT_BY_HAND = {
    "at_s": "an interactive fault begins now; leave it out",
    "every_s": "only a scenario repeats a fault; leave it out",
}
_models: TypeAdapter[AnyFault] = TypeAdapter(Fault)


class Refused(ValueError):
    """What was asked cannot be done; the class says why, `field` what of it is wrong."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NotFound(Refused):
    """There is no such thing."""


class Conflict(Refused):
    """Not in the state that the run is in, or that fault."""


class Invalid(Refused):
    """Never: what was asked is wrong in itself."""


@cache
def types() -> dict[str, dict[str, Any]]:
    """Returns the JSON Schema of every fault, by type, with the fields that people may set.

    What many faults take and most leave as it is has `modifier: true`. First comes what heals
    without a trace, last what ends the run, which has `ends_run: true`.
    """
    schemas = {}
    whole = _models.json_schema()
    models = sorted(get_args(AnyFault), key=lambda each: each.ends_run)  # links before nodes
    for model in models:
        (name,) = get_args(model.model_fields["type"].annotation)
        schema = whole["$defs"][model.__name__]
        fields = {k: v for k, v in schema["properties"].items() if k not in ("type", *NOT_BY_HAND)}
        if not model.grows:
            del fields["ramp_s"]
        for each in fields.values():
            if "anyOf" in each:  # optional fields: what they are when given
                each |= next(way for way in each.pop("anyOf") if way.get("type") != "null")
        ends = "Nothing heals it." if model.ends_run else "It heals by itself."
        fields["for_s"] |= {"default": TTL_S, "maximum": TTL_MAX_S, "description": ends}
        schemas[name] = {
            "title": name,
            "description": schema.get("description", ""),
            "together": model.together,
            "type": "object",
            **({"ends_run": True} if model.ends_run else {}),
            "properties": fields,
            "required": [k for k in schema.get("required", []) if k in fields],
        }
    return schemas


def read(
    given: Mapping[str, Any],
    now_s: float,
    ttl_max_s: float | None,
    old: Mapping[str, Any] = MappingProxyType({}),
) -> AnyFault:
    """Reads a fault as people give it; Refused explains what is wrong.

    `ttl_max_s` None: it may last to the end of the run. `old` is what `given` changes.
    """
    for key in given.keys() & NOT_BY_HAND.keys():
        raise Invalid(f"{key}: {NOT_BY_HAND[key]}", key)
    for key, value in given.items():
        if value is None:
            raise Invalid(f"{key[:TEXT_MAX]}: null is no value; leave it out", key)
        if isinstance(value, int | float) and abs(value) > NUMBER_MAX:
            raise Invalid(f"{key}: at most {NUMBER_MAX:g}", key)
        if len(str(value)) > TEXT_MAX and key != "note":
            raise Invalid(f"{key[:TEXT_MAX]}: longer than {TEXT_MAX} characters", key)
    body = {**old, **given}
    kind = body.get("type")
    if not isinstance(kind, str) or kind not in types():
        raise Invalid(f"type: unknown fault type '{kind}'; {suggest(str(kind), types())}", "type")
    if ttl_max_s is not None:
        body.setdefault("for_s", TTL_S)
    try:
        fault = _models.validate_python({**body, "at_s": now_s})
    except ValidationError as error:
        errors = error.errors(include_url=False)
        field = str(errors[0]["loc"][-1]) if errors[0]["loc"] else ""
        raise Invalid("; ".join(_complaint(kind, each) for each in errors), field) from None
    if ttl_max_s is not None and (fault.for_s or math.inf) > ttl_max_s:
        raise Invalid(f"for_s: at most {ttl_max_s:g} s", "for_s")
    return fault


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
