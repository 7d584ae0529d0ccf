"""Who may ask the control service for what: checks before any handler runs.

A page that the user happens to visit can reach loopback, and a name that an attacker owns can
point to it; so Host, Origin and Content-Type are checked even there.
"""

import hmac
import time
from collections.abc import Awaitable, Callable
from urllib.parse import SplitResult, urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware
from msgspec import UNSET

from emulator.live.answers import Error, respond

LOOPBACK = ("127.0.0.1", "localhost", "::1")
BODY_MAX_BYTES = 16 * 1024
CHANGES_HZ = 10.0  # requests that change something, twice as many at once
COOKIE = "fresco_token"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _split(url: str) -> SplitResult:
    """Splits a URL; what is none has no parts."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def refusal(status: int, message: str, field: str = "") -> web.Response:
    """Answers with an explained error."""
    return respond(Error(message, field or UNSET), status)


def guard(host: str, token: str | None, changes_hz: float = CHANGES_HZ) -> Middleware:
    """Returns the middleware of a service that listens on `host`."""
    burst = 2.0 * changes_hz
    names = {*LOOPBACK, host}
    any_name = host in ("0.0.0.0", "::")  # it has a token; names of this machine are not known
    budget, filled_s = burst, time.monotonic()

    def denied(request: web.Request) -> web.Response | None:
        nonlocal budget, filled_s
        asked = request.headers.get("Host", "")
        if not any_name and _split(f"//{asked}").hostname not in names:
            return refusal(421, "this service does not answer to that Host")
        origin = request.headers.get("Origin")
        if origin is not None and _split(origin).netloc != asked:
            return refusal(403, "requests from other origins are refused")
        if token is not None and request.path != "/healthz":
            given = request.headers.get("Authorization", "").removeprefix("Bearer ")
            given = given or request.cookies.get(COOKIE, "")
            if request.path == "/":  # it becomes a cookie; elsewhere it would end up in logs
                given = given or request.query.get("token", "")
            # What is no UTF-8 comes as surrogates.
            if not hmac.compare_digest(given.encode(errors="surrogateescape"), token.encode()):
                return refusal(401, "a token is needed: Authorization: Bearer ..., or /?token=...")
        no_such_route = request.match_info.http_exception is not None  # answered as it deserves
        if request.method in ("POST", "PATCH", "DELETE") and not no_such_route:
            if request.method != "DELETE" and request.content_type != "application/json":
                return refusal(415, "send Content-Type: application/json")
            if "Content-Encoding" in request.headers:  # what it becomes has no limit
                return refusal(415, "send the body as it is, without Content-Encoding")
            now_s = time.monotonic()
            budget = min(burst, budget + changes_hz * (now_s - filled_s))
            filled_s = now_s
            if budget < 1.0:
                return refusal(429, f"more than {changes_hz:g} changes per second")
            budget -= 1.0
        return None

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        response: web.StreamResponse
        try:
            response = denied(request) or await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            response = refusal(error.status, error.reason)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    return check
