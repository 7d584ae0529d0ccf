"""What is wrong with the types and ranges of a scenario, misspelt keys among it, in words,
and the likeliest correction.

Complaints of pydantic get the path in the data, a message and a remedy. `mend` does what the remedy
says, so that one reading of a file can also find what does not fit together.
"""

from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from emulator.checks.complaints import Complaint, Where, nearest, suggest
from emulator.scenario.schema import Scenario

NUMBERS = (1, 1000)  # legal nearly everywhere; where they are not, nothing is mended
KINDS_MAX = 8  # named in a remedy
NUMERIC = {
    "greater_than",
    "greater_than_equal",
    "less_than",
    "less_than_equal",
    "float_type",
    "int_type",
    "int_from_float",
    "finite_number",
}


def explain(errors: Sequence[ErrorDetails], data: Any) -> list[Complaint]:
    """Turns complaints of pydantic into where, what, and what to do.

    A key that is missing because it stands there misspelt is said once.
    """
    misspelt = {where for error in errors if (where := _meant(error, data)) is not None}
    complaints = [(error["type"], _explain(error, data)) for error in errors]
    return [
        reported
        for kind, reported in complaints
        if kind != "missing" or reported[0] not in misspelt
    ]


def settle_whole(errors: Sequence[ErrorDetails], data: Any) -> bool:
    """Writes a whole number as one where one is wanted: YAML reads `1e3` as 1000.0.

    Returns whether there were any.
    """
    found = False
    for error in errors:
        given = error["input"]
        if error["type"] == "int_type" and isinstance(given, float) and given.is_integer():
            where, _ = _locate(error["loc"], data)
            holder = data
            for part in where[:-1]:
                holder = holder[part]
            holder[where[-1]] = int(given)
            found = True
    return found


def mends(errors: Sequence[ErrorDetails], data: Any) -> list[Scenario]:
    """Returns scenarios that `data` may be meant to be; none where nobody can tell.

    Words are mended as the remedies say. A number that is wrong is tried small and large, so that
    what is wrong with both does not come from the mend; of the kinds that one without may be, the
    first and the last.
    """
    found = []
    for which, number in enumerate(NUMBERS):
        mended = deepcopy(data)
        for error in sorted(errors, key=lambda error: error["type"] == "missing"):
            _mend(error, mended, number, -which)
        with suppress(ValidationError):
            found.append(Scenario.model_validate(mended))
    return found if len(found) == len(NUMBERS) else []


def guesses(errors: Sequence[ErrorDetails], data: Any) -> list[Where]:
    """Returns where a mend chose a kind: what is wrong in there may come from the choice."""
    return [_locate(e["loc"], data)[0] for e in errors if e["type"] == "union_tag_not_found"]


def _mend(error: ErrorDetails, data: Any, number: int, which: int) -> None:
    where, model = _locate(error["loc"], data)
    holder = data
    for part in where[:-1]:
        holder = holder[part]
    key = where[-1] if where else ""
    match error["type"]:
        case "extra_forbidden":
            value = holder.pop(key)
            known = nearest(str(key), [] if model is None else list(model.model_fields))
            if known is not None:
                holder.setdefault(known, value)
        case "union_tag_not_found":
            tag = error["ctx"]["discriminator"].strip("'")
            fitting, _ = _kinds(where, model, error["input"])
            if fitting:
                holder[key][tag] = fitting[which]
        case "union_tag_invalid":
            tag = error["ctx"]["discriminator"].strip("'")
            known = nearest(str(error["ctx"]["tag"]), _words(error["ctx"]["expected_tags"]))
            holder[key][tag] = known
        case "literal_error":
            holder[key] = nearest(str(error["input"]), _words(error["ctx"]["expected"]))
        case kind if kind in NUMERIC:
            holder[key] = number


def _explain(error: ErrorDetails, data: Any) -> Complaint:
    """Turns one complaint of pydantic into where, what, and what to do."""
    where, model = _locate(error["loc"], data)
    given, context = error["input"], error.get("ctx", {})
    shown = _shown(given)
    match error["type"]:
        case "extra_forbidden":
            known = [] if model is None else list(model.model_fields)
            key = str(where[-1])
            return where, f"unknown key '{key}'", suggest(key, known)
        case "missing":
            key = str(where[-1])
            return where, f"'{key}' is missing", f"add `{key}: ...`" + _meaning(model, key)
        case "union_tag_not_found":
            key = context["discriminator"].strip("'")
            fitting, others = _kinds(where, model, given)
            first, *rest = fitting + others
            known = rest if len(rest) <= KINDS_MAX else [*rest[:KINDS_MAX], "..."]
            return where, f"'{key}' is missing", f"add `{key}: {first}` (or {', '.join(known)})"
        case "union_tag_invalid":
            key = context["discriminator"].strip("'")
            known = _words(context["expected_tags"])
            tag = str(context["tag"])
            return (*where, key), f"unknown {key} '{tag}'", suggest(tag, known)
        case "literal_error":
            known = _words(context["expected"])
            return where, f"unknown value {shown}", suggest(str(given), known)
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal" as kind:
            bound = next(iter(context.values()))
            words = kind.replace("_", " ").replace("than equal", "than or equal to")
            return where, f"{shown} is out of range", f"it must be {words} {bound:g}"
        case "float_type" | "int_type" | "int_from_float":
            whole = "a whole number" if error["type"].startswith("int") else "a number"
            return where, f"{shown} is not {whole}", "write it plain, in SI units, without a unit"
        case "string_type" | "bool_type" | "list_type" | "dict_type" | "model_type" as kind:
            names = {"string": "text", "bool": "true or false", "list": "a list"}
            expected = names.get(kind.removesuffix("_type"), "a mapping")
            return where, f"{shown} is not {expected}", f"write {expected} here"
        case "model_attributes_type":
            return where, f"{shown} is not a mapping", "write a mapping, such as {kind: ...}"
        case "string_pattern_mismatch":
            example = "start with a letter; then small letters, digits, single hyphens"
            return where, f"{shown} is no name", example
        case "finite_number":
            return where, f"{shown} is not finite", "write a finite number"
        case "value_error":  # one of our own validators: it says it all
            return where, str(context["error"]), ""
        case "too_short":
            return where, "the list is empty", "it needs one entry at least"
        case _:
            return where, f"{shown}: {error['msg'][:1].lower()}{error['msg'][1:]}", ""


def _locate(loc: Where, data: Any) -> tuple[Where, type[BaseModel] | None]:
    """Follows a location of pydantic through the data, leaving out the names of union members.

    Returns the path, and the model that holds its last key.
    """
    where: list[str | int] = []
    annotation: Any = Scenario
    holder: type[BaseModel] | None = None
    for depth, part in enumerate(loc):
        members = _models(annotation, data)
        inside = isinstance(data, dict) and part in data
        last = depth == len(loc) - 1
        if isinstance(part, str) and not inside and not (last and _known(members, part)):
            continue  # the tag of a union's member, not a key
        where.append(part)
        if isinstance(part, int):
            annotation = get_args(_bare(annotation))[0] if get_args(_bare(annotation)) else None
        else:
            holder = members[0] if members else None
            field = holder.model_fields.get(part) if holder else None
            annotation = field.rebuild_annotation() if field is not None else None
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            data = None
    return tuple(where), holder


def _meant(error: ErrorDetails, data: Any) -> Where | None:
    """Returns the place of the key that an unknown one seems to mean."""
    if error["type"] != "extra_forbidden":
        return None
    where, model = _locate(error["loc"], data)
    near = None if model is None else nearest(str(where[-1]), list(model.model_fields))
    return None if near is None else (*where[:-1], near)


def _words(listed: str) -> list[str]:
    """Reads pydantic's list of words: `'a', 'b' or 'c'`."""
    return [word.strip(" '") for word in listed.replace(" or ", ",").split(",")]


def _bare(annotation: Any) -> Any:
    """Strips Annotated and `| None`."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        inner = [each for each in get_args(annotation) if each is not NoneType]
        if len(inner) == 1:
            return _bare(inner[0])
    return annotation


def _models(annotation: Any, data: Any) -> list[type[BaseModel]]:
    """Returns the models that an annotation may mean; the one that the data's tag names first."""
    bare = _bare(annotation)
    if get_origin(bare) in (Union, UnionType):
        found = [model for each in get_args(bare) for model in _models(each, data)]
        tags = set() if not isinstance(data, dict) else {data.get("kind"), data.get("type")}
        return sorted(found, key=lambda model: not tags & set(_tags(model)))
    return [bare] if isinstance(bare, type) and issubclass(bare, BaseModel) else []


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    for key in ("kind", "type"):
        field = model.model_fields.get(key)
        if field is not None:
            return get_args(field.annotation)
    return ()


def _kinds(where: Where, model: type[BaseModel] | None, given: Any) -> tuple[list[str], list[str]]:
    """Returns the kinds of a union at a place: those that `given` may be as it stands, others."""
    field = next(part for part in reversed(where) if isinstance(part, str))
    assert model is not None
    annotation = _bare(model.model_fields[field].rebuild_annotation())
    if get_origin(annotation) is list:
        annotation = get_args(annotation)[0]
    fitting: list[str] = []
    others: list[str] = []
    for member in _models(annotation, None):
        fields = {name: f.is_required() for name, f in member.model_fields.items()}
        needed = {name for name, is_required in fields.items() if is_required} - {"kind", "type"}
        fits = needed <= given.keys() <= fields.keys()
        (fitting if fits else others).extend(_tags(member))
    return fitting, others


def _known(models: list[type[BaseModel]], key: str) -> bool:
    return any(key in model.model_fields for model in models[:1])


def _meaning(model: type[BaseModel] | None, key: str) -> str:
    field = None if model is None else model.model_fields.get(key)
    return f" ({field.description})" if field is not None and field.description else ""


def _shown(given: Any) -> str:
    """Returns a value as its author knows it: `true`, not `True`."""
    text = str(given).lower() if isinstance(given, bool) else repr(given)
    text = "nothing" if given is None else text
    return text if len(text) <= 60 else text[:57] + "..."


def written(where: Where) -> str:
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
