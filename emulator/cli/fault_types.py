"""`fresco fault types`: what can break, from the schema of the faults."""

from typing import Any

import click


@click.command("types")
def fault_types() -> None:
    """List what can break, with parameters, ranges and defaults."""
    from emulator.checks.fault_words import types

    modifiers: dict[str, Any] = {}
    for name, schema in types().items():
        click.secho(name, bold=True, nl=False)
        click.echo(f"  {' '.join(schema['description'].split())}")
        fields: dict[str, Any] = schema["properties"]
        also = {field: spec for field, spec in fields.items() if spec.get("modifier")}
        modifiers |= also
        for field, spec in fields.items():
            if field not in also:
                click.echo(_parameter(field, spec, field in schema["required"]))
        click.echo(f"    also: {', '.join(also)}; several together: {schema['together']}")
    click.secho("Where a fault takes them also", bold=True)
    for field, spec in modifiers.items():
        click.echo(_parameter(field, spec, False))


def _parameter(field: str, spec: dict[str, Any], required: bool) -> str:
    default = spec.get("default")
    need = "optional" if default in (None, "") else f"default {default}"
    if required:
        need = "required"
    return f"    {field}: {_range(spec)}, {need}. {spec.get('description', '')}".rstrip()


def _range(spec: dict[str, Any]) -> str:
    if "enum" in spec:
        return " or ".join(map(str, spec["enum"]))
    low = spec.get("minimum", spec.get("exclusiveMinimum"))
    high = spec.get("maximum", spec.get("exclusiveMaximum"))
    bounds = [
        *([] if low is None else [f"from {low:g}"]),
        *([] if high is None else [f"to {high:g}"]),
    ]
    return " ".join([str(spec.get("type", "value")), *bounds])
