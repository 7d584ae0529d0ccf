"""Speaks to a run in progress in another process, over its HTTP API.

Without an address it is the run in progress here, whose own folder says where it listens.
"""

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from emulator.cli.arguments import RUNS, fail, token
from emulator.runtime import folders

TIMEOUT_S = 10.0


class Unanswered(Exception):
    """No run answers, or it refuses; the message says why."""


class Client:
    """One run: at `url`, or with the folder `run`; else the only one in progress here."""

    def __init__(
        self, url: str | None, run: Path | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._url, self._run, self._timeout_s = url, run, timeout_s

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Returns what the run answers; complains and exits 2 where it refuses."""
        try:
            return self.request(method, path, body)
        except Unanswered as error:
            fail(str(error))

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Returns what the run answers; Unanswered where it does not or refuses."""
        url = self._address()
        headers = {"Content-Type": "application/json", "X-Fresco-Source": "cli"}
        try:
            secret = token()
        except ValueError as error:
            raise Unanswered(str(error)) from None
        if secret:
            headers["Authorization"] = f"Bearer {secret}"
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = Request(f"{url}/api/v1/{path}", data, headers, method=method)
        try:
            with urlopen(request, timeout=self._timeout_s) as response:
                return json.load(response)
        except HTTPError as error:
            try:
                message = json.load(error)["error"]
            except (ValueError, KeyError):
                message = error.reason
            raise Unanswered(str(message)) from None
        except OSError as error:  # URLError is one
            why = getattr(error, "reason", error)
            raise Unanswered(f"nobody answers at {url}: {why}") from None

    def _address(self) -> str:
        if self._url is not None:
            return self._url.rstrip("/")
        if self._run is not None:
            for folder in (self._run, RUNS / self._run):
                if folders.goes_on(folder):
                    return folders.address(folder)
            raise Unanswered(f"no run is in progress in {self._run}")
        found = folders.going_on(RUNS)
        if not found:
            raise Unanswered(
                f"no run is in progress here (none under {RUNS}/ listens): start one with "
                "`fresco run`, or name one with --url"
            )
        if len(found) > 1:
            which = "\n".join(f"  --run {folder.relative_to(RUNS)}" for folder in found)
            raise Unanswered(f"{len(found)} runs are in progress here; say which:\n{which}")
        return folders.address(found[0])
