"""Spells out `device: raspberry` in a scenario: what the class says holds where nothing else does.

Done before types are checked, so everything after sees plain fields, and the resolved scenario of a
run depends on no table.
"""

from typing import Any

from models.devices import CLASSES
from models.zoo import unknown


def spelled_out(given: Any) -> Any:
    """Replaces the key `device` of a server by what its class says and the server does not.

    ValueError if there is no such class. An `accelerator` of another kind than `fitted` that
    leaves something out takes that from the class too.
    """
    if not isinstance(given, dict) or not isinstance(name := given.get("device"), str):
        return given
    if name not in CLASSES:
        raise unknown("device", name, CLASSES)
    found = CLASSES[name]
    accelerator: Any = {
        "kind": "live",
        "model": found.model,
        "engine": found.engine,
        "batch_max": found.batch_max,
    }
    own = given.get("accelerator", {})
    if not isinstance(own, dict) or own.get("kind") == "fitted":
        accelerator = own
    else:
        accelerator |= own
    thermal = {"slowdown": found.slowdown, "time_s": found.heat_s}
    said = {key: value for key, value in given.items() if key != "device"}
    return {"speed": found.speed, "thermal": thermal} | said | {"accelerator": accelerator}


def needs_either(schema: dict[str, Any]) -> None:
    """Says in a JSON Schema that a device has an accelerator or a class."""
    schema["required"] = [key for key in schema.get("required", []) if key != "accelerator"]
    if not schema["required"]:
        del schema["required"]
    schema["anyOf"] = [{"required": ["accelerator"]}, {"required": ["device"]}]
