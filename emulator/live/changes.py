"""What people change over HTTP: faults, and whether the run goes on; answered once hosts obey."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import msgspec
from aiohttp import web

from emulator.build.known_fault import Applied, Known
from emulator.checks.fault_words import Conflict, Invalid, NotFound, Refused
from emulator.live.answers import Done, Fault, readable, respond
from emulator.live.guard import refusal
from emulator.runtime.steering import Steering

STATUS: dict[type[Refused], int] = {NotFound: 404, Conflict: 409, Invalid: 422}
ACK_MAX_S = 2.5  # wall; who obeys later is said not to obey yet


class Changes:
    """The requests of `service.py` that change something, handed on to `steering`."""

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
                        raise Invalid(f"'{name[:20]}' is no parameter here; {known}")
                response: web.Response = await handler(request)
            except Refused as refused:
                return refusal(STATUS[type(refused)], str(refused), refused.field)
            except asyncio.CancelledError:
                if self._steering.phase == "ended":
                    return refusal(STATUS[Conflict], "the run ended before this took effect")
                raise
            return response

        return answer

    async def _inject(self, request: web.Request) -> web.Response:
        source = readable(request.headers.get("X-Fresco-Source", "http"))[:20]
        dry_run = request.query.get("dry_run", "false")
        if dry_run not in ("true", "false"):
            raise Invalid(f"dry_run: '{dry_run[:20]}' is neither true nor false", "dry_run")
        if dry_run == "true":
            known = self._steering.preview(await _body(request), source)
            return respond(Done([Fault.of(known)], dry_run=True))
        known, waiting, extended = self._steering.inject(
            await _body(request), source, request.remote or ""
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
        applied, why = None, self._held_up()
        try:
            # Shielded: the run still has to say what became of it, also to nobody.
            answer = asyncio.shield(asyncio.wrap_future(waiting))
            applied = await asyncio.wait_for(answer, ACK_MAX_S)
        except TimeoutError:
            why = self._held_up() or f"no host said within {ACK_MAX_S:g} s that it obeys"
        else:
            why = why or self._held_up()
        return respond(Done.of(known, extended, applied, why), status)

    def _held_up(self) -> str:
        waits_for = self._steering.waits_for
        return f"the run waits for {waits_for}" if waits_for else ""


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        return msgspec.json.decode(await request.read(), type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Invalid(f"the body is no JSON object: {error}") from None


async def _needs_no_body(request: web.Request, what: str) -> None:
    if request.body_exists and (body := await _body(request)):
        raise Invalid(f"{what} takes no '{next(iter(body))[:50]}'")
