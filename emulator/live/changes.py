"""What people change over HTTP: faults, and whether the run goes on; answered once hosts obey."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from aiohttp import web

from emulator.build.known_fault import Applied, Known
from emulator.checks.fault_words import Refused
from emulator.live.guard import refusal
from emulator.runtime.steering import Steering

ACK_MAX_S = 2.5  # wall; who obeys later is said not to obey yet


class Changes:
    """The requests of `control.py` that change something, handed on to `steering`."""

    def __init__(self, steering: Steering) -> None:
        self._steering = steering

    def routes(self, root: str) -> list[web.RouteDef]:
        """Returns the routes below `root`, which is that of the API."""
        one = f"{root}/faults/{{id:[0-9]{{1,6}}}}"
        return [
            web.post(f"{root}/faults", self._explained(self._inject, "dry_run")),
            web.delete(f"{root}/faults", self._explained(self._heal)),
            web.patch(one, self._explained(self._patch)),
            web.delete(one, self._explained(self._heal)),
            web.post(f"{root}/run/{{verb:pause|resume|stop}}", self._explained(self._command)),
        ]

    def _explained(self, handler: Callable[[web.Request], Any], *parameters: str) -> Any:
        """Has `handler` answer what changes something; of the query it reads only `parameters`."""
        known = f"there is {' and '.join(parameters)}" if parameters else "it takes none"

        async def answer(request: web.Request) -> web.Response:
            try:
                for name in request.query:  # ignored, `?id=3` would mean all
                    if name not in parameters:
                        raise Refused(422, f"'{name[:20]}' is no parameter here; {known}")
                response: web.Response = await handler(request)
            except Refused as refused:
                return refusal(refused.status, str(refused), refused.field)
            except asyncio.CancelledError:
                if self._steering.phase == "ended":
                    return refusal(409, "the run ended before this took effect")
                raise
            return response

        return answer

    async def _inject(self, request: web.Request) -> web.Response:
        source = request.headers.get("X-Fresco-Source", "http")
        dry_run = request.query.get("dry_run", "false")
        if dry_run not in ("true", "false"):
            raise Refused(422, f"dry_run: '{dry_run[:20]}' is neither true nor false", "dry_run")
        if dry_run == "true":
            known = self._steering.preview(await _body(request), source[:20])
            return web.json_response(
                {"extended": False, "dry_run": True, "faults": [known.as_dict()]}
            )
        known, waiting, extended = self._steering.inject(
            await _body(request), source[:20], request.remote or ""
        )
        return await self._acknowledged(waiting, [known], 200 if extended else 201, extended)

    async def _patch(self, request: web.Request) -> web.Response:
        known, waiting = self._steering.patch(int(request.match_info["id"]), await _body(request))
        return await self._acknowledged(waiting, [known])

    async def _heal(self, request: web.Request) -> web.Response:
        await _needs_no_body(request, "healing")
        number = request.match_info.get("id")
        known, waiting = self._steering.heal(None if number is None else [int(number)])
        return await self._acknowledged(waiting, known)

    async def _command(self, request: web.Request) -> web.Response:
        verb = request.match_info["verb"]
        await _needs_no_body(request, verb)
        steering = self._steering
        waiting = steering.stop("stopped by hand") if verb == "stop" else getattr(steering, verb)()
        return await self._acknowledged(waiting, [])

    async def _acknowledged(
        self,
        waiting: Future[Applied],
        known: list[Known],
        status: int = 200,
        extended: bool = False,
    ) -> web.Response:
        """Answers when all hosts obey; after `ACK_MAX_S` it warns that they do not yet."""
        reported: dict[str, Any] = {"extended": extended}
        held_up = self._held_up()
        try:
            # Shielded: the run still has to say what became of it, also to nobody.
            answer = asyncio.shield(asyncio.wrap_future(waiting))
            applied = await asyncio.wait_for(answer, ACK_MAX_S)
            reported |= {"at_s": applied.at_s, "applied": [applied.hosts, applied.of]}
            if applied.hosts < applied.of:
                share = f"only {applied.hosts} of {applied.of} hosts said they obey"
                held_up = held_up or self._held_up()
                reported["warning"] = f"{share}: {held_up}" if held_up else share
        except TimeoutError:
            why = self._held_up() or f"no host said within {ACK_MAX_S:g} s that it obeys"
            reported["warning"] = f"accepted, not in effect: {why}"
        return web.json_response(
            reported | {"faults": [each.as_dict() for each in known]}, status=status
        )

    def _held_up(self) -> str:
        waits_for = self._steering.waits_for
        return f"the run waits for {waits_for}" if waits_for else ""


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read(), parse_constant=_no_number)
        json.dumps(body, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise Refused(422, f"the body is no JSON: {str(error)[:100]}") from None
    if not isinstance(body, dict):
        raise Refused(422, "the body is no JSON object")
    return body


async def _needs_no_body(request: web.Request, what: str) -> None:
    if request.body_exists and (body := await _body(request)):
        raise Refused(422, f"{what} takes no '{next(iter(body))[:50]}'")


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")
