"""The shell of a self-contained page: styles, scripts and data inside, nothing fetched.

Not a template engine: callers escape what they put into `body`; `table` does it for them. The
content security policy names each script and style by its hash, so text that slipped through
unescaped would still not run.
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from pathlib import Path

STATIC = Path(__file__).parent.parent / "static"


def page(
    title: str,
    body: str,
    styles: Sequence[str],
    scripts: Sequence[str] = (),
    embedded: object = None,
) -> str:
    """Returns a whole page. `styles` and `scripts` are files in `static/`; `embedded` is what
    the scripts find as JSON in the element `data`."""
    style = "".join(_static(name) for name in styles)
    codes = [_static(name) for name in scripts]
    # "<" as an escape cannot end the script element early.
    inside = json.dumps(embedded).replace("<", "\\u003c")
    allowed = " ".join(map(_hash, codes)) or "'none'"
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )
    elements = "".join(f"<script>{code}</script>\n" for code in codes)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} - Fresco</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head><body><main>
{body}
</main>
<script type="application/json" id="data">{inside}</script>
{elements}</body></html>
"""


def table(rows: Sequence[Sequence[str]]) -> str:
    """Returns a table, the first row its head; scrolls sideways where the screen is narrow."""
    head, *body = rows
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body
    )
    return (
        '<div class="scroll"><table>'
        f"<thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _static(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
