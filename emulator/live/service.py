"""The control service: dashboard, API and metrics of one run, in a thread of the driver.

It starts before the hosts do and only ever reads finished bytes or asks `Steering`; a slow viewer
misses frames and delays nobody. The run's folder tells other processes where it is.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any

import msgspec
from aiohttp import web
from msgspec import structs
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from emulator.build.plan import Plan
from emulator.checks.fault_words import types
from emulator.live.answers import Change, Health, respond
from emulator.live.changes import Changes
from emulator.live.feed import Feed
from emulator.live.guard import (
    BODY_MAX_BYTES,
    CHANGES_HZ,
    COOKIE,
    HEADERS,
    LOOPBACK,
    guard,
    refusal,
)
from emulator.live.openapi import description
from emulator.live.prometheus import Exporter
from emulator.runtime import folders
from emulator.runtime.recorder import Progress
from emulator.runtime.steering import Steering
from emulator.views.html import STATIC

PORT = 7373  # tried first, so that a bookmark and an open page find the next run
VIEWERS_MAX = 64  # open streams
ENDED_MAX = 100  # ended faults that every change tells again
PAGES = {
    "/": ("live.html", "text/html"),
    **{
        f"/static/{name}.js": (f"{name}.js", "text/javascript")
        for name in ("live", "curves", "map", "form", "words", "axes")
    },
    "/static/live.css": ("live.css", "text/css"),
    "/static/report.css": ("report.css", "text/css"),
    "/static/uPlot.js": ("vendor/uPlot.iife.min.js", "text/javascript"),
    "/static/uPlot.css": ("vendor/uPlot.min.css", "text/css"),
}


class Viewer:
    """One open stream: the newest frame, and every change (a change tells the whole state)."""

    def __init__(self, frame: bytes | None, change: bytes) -> None:
        self.frame, self.change = frame, change
        self.wake = asyncio.Event()
        self.wake.set()


class Service:
    """From `start` to `stop`; `take` is called after every step, `ready` while hosts start.

    Many attributes: a server, its thread, and what the two threads share.
    """

    def __init__(
        self,
        plan: Plan,
        steering: Steering,
        folder: Path,
        host: str = "127.0.0.1",
        port: int | None = None,
        token: str | None = None,
        changes_hz: float = CHANGES_HZ,
        per_user: bool = False,
    ) -> None:
        """`port` None: 7373, or any; `changes_hz`: how often people may change something;
        `per_user`: metrics of single users too."""
        if host not in LOOPBACK and not token:
            raise ValueError(
                f"--dashboard-host {host} is not loopback: set FRESCO_TOKEN to a secret first, "
                "or FRESCO_TOKEN_FILE to a file that holds one"
            )
        self.feed = Feed(plan, steering, str(folder))
        self.url = ""
        self._steering, self._folder = steering, folder
        self._host, self._port = host, port
        self._guard, self._has_token = guard(host, token, changes_hz), token is not None
        self._exporter = Exporter(plan.scenario, per_user)
        self._registry = CollectorRegistry()
        self._registry.register(self._exporter)
        self._files = {path: (STATIC / name).read_bytes() for path, (name, _) in PAGES.items()}
        self._viewers: set[Viewer] = set()
        self._loop = asyncio.new_event_loop()
        self._started: Future[str] = Future()
        self._ended: asyncio.Event | None = None
        self._announced: IO[str] | None = None
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)

    def start(self) -> None:
        """Begins to serve; OSError where the port is taken."""
        self._thread.start()
        self.url = self._started.result()
        self._announced = folders.announce(self._folder, self.url)
        self.feed.publish_to(lambda frame: self._tell(self._send_frame))
        self._steering.tell_changes_to(lambda: self._tell(self._send_change))

    def finish(self) -> None:
        """Lets whoever scrapes know that the run is over, before `stop`."""
        self._exporter.finish()

    def stop(self) -> None:
        if self._announced is not None:
            (self._folder / folders.CONTROL).unlink(missing_ok=True)
            self._announced.close()
        self._tell(self._end)
        self._thread.join(5.0)

    def take(self, progress: Progress) -> None:
        if self.feed.take(progress):  # nobody scrapes more often than viewers look
            self._exporter.take(progress)

    def ready(self, hosts: int, of: int) -> None:
        self.feed.ready(hosts, of)
        self._tell(self._send_change)

    # In the service's thread

    def _tell(self, call: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)

    def _send_frame(self) -> None:
        for viewer in self._viewers:
            viewer.frame = self.feed.frame
            viewer.wake.set()

    def _send_change(self) -> None:
        change = self._change()
        for viewer in self._viewers:
            viewer.change = change
            viewer.wake.set()

    def _change(self) -> bytes:
        faults = structs.asdict(self.feed.faults(ENDED_MAX))
        return msgspec.json.encode(Change(**faults, run=self.feed.state()))

    def _end(self) -> None:
        if self._ended is not None:
            self._ended.set()
        for viewer in self._viewers:
            viewer.wake.set()

    def _serve(self) -> None:
        try:
            self._loop.run_until_complete(self._main())
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)
        finally:
            self._loop.close()

    async def _main(self) -> None:
        self._ended = asyncio.Event()
        app = web.Application(middlewares=[self._guard], client_max_size=BODY_MAX_BYTES)
        app.add_routes(self._routes())
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        await runner.setup()
        try:
            port = await self._bind(runner)
            shown = f"[{self._host}]" if ":" in self._host else self._host
            self._started.set_result(f"http://{shown}:{port}")
            await self._ended.wait()
        finally:
            await runner.cleanup()

    async def _bind(self, runner: web.AppRunner) -> int:
        for port in (PORT, 0) if self._port is None else (self._port,):
            try:
                site = web.TCPSite(runner, self._host, port)
                await site.start()
            except OSError:
                if port == 0 or self._port is not None:
                    raise
                continue
            return int(runner.addresses[-1][1])
        raise OSError("no free port")

    def _routes(self) -> list[web.RouteDef]:
        v1, get = "/api/v1", web.get
        feed, steering = self.feed, self._steering

        def answers(make: Callable[[], Any]) -> Any:
            async def handler(request: web.Request) -> web.Response:
                return respond(make())

            return handler

        return [
            *(get(path, self._page) for path in PAGES),
            get("/healthz", answers(lambda: Health(steering.phase))),
            get("/metrics", self._metrics),
            get(f"{v1}/openapi.json", answers(lambda: description(self._has_token))),
            get(f"{v1}/run", answers(feed.state)),
            get(f"{v1}/topology", answers(feed.topology)),
            get(f"{v1}/history", answers(feed.history)),
            get(f"{v1}/fault-types", answers(types)),
            get(f"{v1}/faults", answers(feed.faults)),
            get(f"{v1}/stream", self._stream),
            *Changes(steering).routes(v1),
        ]

    async def _page(self, request: web.Request) -> web.Response:
        if request.path == "/" and "token" in request.query:
            response: web.Response = web.Response(status=303, headers={"Location": "/"})
            response.set_cookie(COOKIE, request.query["token"], httponly=True, samesite="Strict")
            return response
        kind = PAGES[request.path][1]
        return web.Response(body=self._files[request.path], content_type=kind, charset="utf-8")

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, kind = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": kind})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if len(self._viewers) >= VIEWERS_MAX:
            return refusal(503, f"{VIEWERS_MAX} viewers are watching already")
        response = web.StreamResponse(headers=HEADERS | {"Content-Type": "text/event-stream"})
        viewer = Viewer(self.feed.frame or None, self._change())
        self._viewers.add(viewer)
        assert self._ended is not None
        try:
            await response.prepare(request)
            while not self._ended.is_set():
                try:
                    await asyncio.wait_for(viewer.wake.wait(), 2.0)
                except TimeoutError:
                    await response.write(b": still here\n\n")
                    continue
                viewer.wake.clear()
                if viewer.change:
                    change, viewer.change = viewer.change, b""
                    await response.write(b"event: change\ndata: %b\n\n" % change)
                if viewer.frame is not None:
                    frame, viewer.frame = viewer.frame, None
                    await response.write(b"event: frame\ndata: %b\n\n" % frame)
        except ConnectionError:
            pass
        finally:
            self._viewers.discard(viewer)
        return response
