"""Reads a scenario file and explains everything that is wrong with it, at once.

YAML 1.2 with positions. Not a validator of its own: types and ranges stand in
`scenario/schema.py`, what concerns several fields in `check.py`; here their complaints get a place
and a remedy.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from emulator.checks import check
from emulator.checks.complaints import Where
from emulator.checks.explain import explain, guesses, mends, settle_whole, written
from emulator.scenario.schema import Scenario

SIZE_MAX_BYTES = 1_000_000
VALUES_MAX = 200_000  # aliases can make a small file huge
SHOWN_MAX = 50  # problems printed; one mistake in a generated file is made thousands of times
EXCERPT_MAX = 100  # characters of the source line around the place
CUT = "..."  # where it goes on


class Problem(Struct, frozen=True):
    """One thing that is wrong. `line` and `column` count from 1; 0 where there is no place."""

    file: str
    line: int
    column: int
    field: str
    message: str
    remedy: str
    excerpt: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        field = f" {self.field}:" if self.field else ""
        text = f"{place}:{field} {self.message}" + (f"; {self.remedy}" if self.remedy else "")
        if not self.excerpt:
            return text
        # A tab would push the line away from its caret, and JSON may be a single long line.
        first = max(0, min(self.column - EXCERPT_MAX // 2, len(self.excerpt) - EXCERPT_MAX))
        shown = self.excerpt.replace("\t", " ")[first : first + EXCERPT_MAX]
        if first > 0:
            shown = CUT + shown[len(CUT) :]
        if first + EXCERPT_MAX < len(self.excerpt):
            shown = shown[: -len(CUT)] + CUT
        return f"{text}\n    {shown}\n    {' ' * (self.column - 1 - first)}^"


class ScenarioError(ValueError):
    """A scenario that cannot be run, with every problem found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.line, p.column)))
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        lines = [str(problem) for problem in self.problems[:SHOWN_MAX]]
        if len(problems) > SHOWN_MAX:
            lines.append(f"and {len(problems) - SHOWN_MAX} more")
        super().__init__("\n".join([*lines, f"{count}; nothing was started"]))


AS_SHIPPED = ("seed", "runtime")  # what may be changed while a scenario keeps its expectations


class Reading:
    """A scenario that can be run, what was changed of its file, and what deserves a word."""

    def __init__(self, scenario: Scenario, document: "_Document") -> None:
        self.scenario = scenario
        self.changed = tuple(document.changed)  # dotted paths
        self._document = document

    def expecting(self) -> tuple[Scenario, str]:
        """Returns the scenario without the expectations that are not for it, and says which.

        They belong to the scenario as it is shipped, at any seed and on any runtime, or to whoever
        gives them beside other changes.
        """
        chosen = self.scenario
        heads = {dotted.partition(".")[0] for dotted in self.changed}
        others = [each for each in self.changed if each.partition(".")[0] not in AS_SHIPPED]
        if not chosen.expect or not others or "expect" in heads:
            return chosen, ""
        count = f"{len(chosen.expect)} expectation{'s' if len(chosen.expect) > 1 else ''} skipped"
        text = f"{count}: for '{chosen.name}' as its file is, and {', '.join(others)} changed"
        return chosen.model_copy(update={"expect": []}), text

    def warnings(self) -> list[Problem]:
        """Returns what runs, but probably not as meant, where it stands."""
        return [self._document.problem(*each) for each in check.warnings(self.scenario)]


def load(path: Path, overrides: Mapping[str, Any] | None = None) -> Scenario:
    """Reads, changes and checks a scenario; raises ScenarioError with all problems."""
    return read(path, overrides).scenario


def read(
    path: Path, overrides: Mapping[str, Any] | None = None, protocol: str | None = None
) -> Reading:
    """Reads as `load` does, and keeps where everything stands.

    What concerns several fields can be asked only of a scenario whose types are right; where they
    are not, it is asked of the likeliest mends, and what all of them are blamed for is told too.
    `overrides` maps dotted paths ("users.0.count") to values; they change what `protocol`, another
    one than the file's, leaves. Files that the scenario or an override names are made absolute,
    relative to the scenario's folder.
    """
    document = _Document(path)
    if protocol is not None:
        document.choose(protocol)
    for dotted, given in (overrides or {}).items():
        document.override(dotted, given)
    document.stop_if_bad()
    document.anchor(document.data)
    guessed: list[Where] = []
    try:
        scenarios = [_validated(document.data)]
    except ValidationError as error:
        found = error.errors(include_url=False)
        for complaint in explain(found, document.data):
            document.blame(*complaint)
        scenarios = mends(found, document.data)
        guessed = guesses(found, document.data)
    together = [list(check.problems(each)) for each in scenarios]
    for complaint in together[0] if together else ():
        in_guess = any(complaint[0][: len(where)] == where for where in guessed)
        if not in_guess and all(complaint in others for others in together[1:]):
            document.blame(*complaint)
    document.stop_if_bad()
    return Reading(scenarios[0], document)


def _validated(data: Any) -> Scenario:
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        if not settle_whole(error.errors(include_url=False), data):
            raise
    return Scenario.model_validate(data)


def dump(scenario: Scenario) -> str:
    """Returns the scenario as YAML, with every default spelled out."""
    from io import StringIO

    text = StringIO()
    YAML(typ="safe", pure=True).dump(scenario.model_dump(mode="json", exclude_none=True), text)
    return text.getvalue()


def value(text: str) -> Any:
    """Reads one value as YAML would: `1e-3` is a number, `[1, 2]` a list."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except Exception:  # ruamel's own, and whatever a tag's constructor raises: then it is text
        return text


class _Document:
    """A YAML file as plain data, with the place of every key and value."""

    def __init__(self, path: Path) -> None:
        self._file = str(path)
        self._folder = path.resolve().parent
        self._lines: list[str] = []
        self._places: dict[Where, tuple[int, int]] = {}
        self._overridden: dict[Where, str] = {}
        self._problems: dict[Problem, None] = {}  # a set that keeps the order
        self._values = 0
        self.changed: list[str] = []
        self.data: Any = self._plain(self._parse(path), ())
        if not isinstance(self.data, dict):
            self.blame((), "a scenario is a mapping", "begin with `name: ...`")
        self.stop_if_bad()

    def blame(self, where: Where, message: str, remedy: str) -> None:
        """Adds a problem at the place of a path, or of the nearest thing around it."""
        self._problems[self.problem(where, message, remedy)] = None

    def problem(self, where: Where, message: str, remedy: str) -> Problem:
        """Returns a complaint at the place of its path, or of the nearest thing around it."""
        field = written(where)
        known = where
        while known and known not in self._places and known not in self._overridden:
            known = known[:-1]
        if known in self._overridden:
            return Problem(self._overridden[known], 0, 0, field, message, remedy)
        return self._problem_at(*self._places.get(known, (0, 0)), field, message, remedy)

    def stop_if_bad(self) -> None:
        if self._problems:
            raise ScenarioError(tuple(self._problems))

    def choose(self, protocol: str) -> None:
        """Sets the protocol; the file's options belong to the one that the file names."""
        own = self.data.get("protocol")
        if not isinstance(own, dict) or own.get("kind") != protocol:
            self.override("protocol", {"kind": protocol}, f"--protocol {protocol}")

    def override(self, dotted: str, given: Any, shown: str = "") -> None:
        """Sets the value at a dotted path; mappings that are not there are made.

        `shown` is how the one who gave it did so.
        """
        self.changed.append(dotted)
        where = tuple(int(part) if part.isdecimal() else part for part in dotted.split("."))
        shown = shown or f"--set {dotted}={given}"
        target = self.data
        for depth, part in enumerate(where[:-1]):
            if isinstance(target, dict) and part not in target:
                target[part] = {}
                self._overridden[where[: depth + 1]] = shown
            try:
                target = target[part]
            except (KeyError, IndexError, TypeError):
                target = None
            if not isinstance(target, dict | list):
                text = f"there is nothing to set in {written(where[: depth + 1])}"
                self._blame_override(shown, written(where), text, "")
                return
        last = where[-1]
        if isinstance(target, list) and not (isinstance(last, int) and last < len(target)):
            text = f"there is no {written(where)}; the list has {len(target)} entries"
            self._blame_override(shown, written(where), text, "")
            return
        target[last] = given
        for gone in (self._places, self._overridden):  # what stood here, stands nowhere now
            for place in [place for place in gone if place[: len(where)] == where]:
                del gone[place]
        self._overridden[where] = shown

    def anchor(self, node: Any) -> None:
        """Makes every `file` in a node absolute, relative to the scenario's folder."""
        if isinstance(node, dict):
            if isinstance(node.get("file"), str):
                node["file"] = str(self._folder / node["file"])
            node = list(node.values())
        if isinstance(node, list):
            for inner in node:
                self.anchor(inner)

    def _parse(self, path: Path) -> Any:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "there is no such file"
            raise self._unreadable(what, "name a YAML file, or a scenario that comes with Fresco")
        if path.stat().st_size > SIZE_MAX_BYTES:
            text = f"has more than {SIZE_MAX_BYTES:,} bytes"
            raise self._unreadable(text, "move long lists to files of their own")
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._unreadable(
                f"is not UTF-8 text: {error.reason}", "save it as UTF-8"
            ) from None
        self._lines = text.splitlines()
        try:
            return YAML(typ="rt", pure=True).load(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
            what = str(error.problem or error.context or "cannot be read").split(" with value")[0]
            raise self._unreadable(
                f"not YAML: {what}", "check indentation and colons", *place
            ) from None
        except Exception as error:  # a tag's constructor may raise, or assert, anything
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise self._unreadable(f"not YAML: {first}", "check the syntax") from None

    def _plain(self, node: Any, where: Where) -> Any:
        """Copies what ruamel read as plain values, and notes where each stands."""
        self._values += 1
        if self._values > VALUES_MAX:
            text = f"has more than {VALUES_MAX:,} values, aliases counted out"
            raise self._unreadable(text, "use fewer aliases")
        if isinstance(node, Mapping):
            plain: dict[Any, Any] = {}
            for key, inner in node.items():
                here = (*where, str(key))
                self._note(here, node, key)
                plain[str(key)] = self._plain(inner, here)
            return plain
        if isinstance(node, list):
            for index in range(len(node)):
                self._note((*where, index), node, index)
            return [self._plain(inner, (*where, index)) for index, inner in enumerate(node)]
        if isinstance(node, bool) or node is None:
            return node
        for kind in (int, float, str):
            if isinstance(node, kind):
                return kind(node)
        return str(node)

    def _note(self, where: Where, node: Any, key: Any) -> None:
        position = node.lc.data.get(key) if node.lc.data else None
        if position is not None:
            self._places[where] = (position[0] + 1, position[1] + 1)

    def _problem_at(self, line: int, column: int, field: str, message: str, remedy: str) -> Problem:
        excerpt = self._lines[line - 1] if 0 < line <= len(self._lines) else ""
        return Problem(self._file, line, column, field, message, remedy, excerpt)

    def _unreadable(
        self, message: str, remedy: str, line: int = 0, column: int = 0
    ) -> ScenarioError:
        return ScenarioError([self._problem_at(line, column, "", message, remedy)])

    def _blame_override(self, shown: str, field: str, message: str, remedy: str) -> None:
        self._problems[Problem(shown, 0, 0, field, message, remedy)] = None
