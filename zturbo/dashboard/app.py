"""The HTTP side: the page's files, its data, cancel and retry, metrics, health.

Nothing of it is loaded from elsewhere, and no text from outside becomes markup: the page is static, and its
script sets texts alone. The policy below forbids all other scripts and styles in any case. A request that
changes something needs a header that a page of another origin cannot send, and the origin of this page. Names
of hosts are checked, so that no name of a stranger's leads a browser here.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from zturbo.client.client import Client
from zturbo.client.job_ids import is_job_id
from zturbo.client.reader import FailedTask
from zturbo.dashboard.metrics import exposition
from zturbo.dashboard.watching import Watcher
from zturbo.errors import ZturboError
from zturbo.errortext import clip

__all__ = ["VIEWS", "make_app"]

STATIC = Path(__file__).parent / "static"

VIEWS = ("pipeline", "workers", "jobs", "hosts", "logs", "incidents")

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

COOKIE = "zturbo-token"

FAILURES = 50
"""Failed tasks that are shown of a job."""

LONGEST = 20_000
"""Characters of a traceback or an input that are shown."""

Next = Callable[[Request], Awaitable[Response]]


class _Guard:
    """Checks each request before anything else, and adds the headers.

    Args:
        token: what a request has to know; empty if the page is for this host alone.
        hosts: names under which the page is reached; None for any, where a token is asked for.
    """

    def __init__(self, token: str, hosts: frozenset[str] | None) -> None:
        self._token = token
        self._hosts = hosts

    async def __call__(self, request: Request, call_next: Next) -> Response:
        response = self._refusal(request)
        if response is None:
            given = request.query_params.get("token")
            if self._token and given is not None and self._same(given) and request.method == "GET":
                response = RedirectResponse(request.url.path, 303)
                response.set_cookie(COOKIE, given, httponly=True, samesite="strict")
            else:
                response = await call_next(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    def _same(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _refusal(self, request: Request) -> Response | None:
        name = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        if self._hosts is not None and name not in self._hosts:
            return PlainTextResponse("this page is for this host alone: ask for it as localhost", 421)
        if request.method not in ("GET", "HEAD"):
            origin = request.headers.get("origin", "")
            if request.headers.get("x-zturbo") != "1" or urlsplit(origin).netloc != request.headers.get(
                "host"
            ):
                return PlainTextResponse("only this page itself may ask for that", 403)
        if not self._token or request.url.path == "/health":
            return None
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        given = (bearer, request.cookies.get(COOKIE, ""), request.query_params.get("token", ""))
        if any(self._same(one) for one in given if one):
            return None
        return PlainTextResponse("add ?token=TOKEN to the address once; zturbo dashboard has printed it", 401)


def make_app(watcher: Watcher, *, token: str = "", hosts: frozenset[str] | None = None) -> Starlette:
    """The application.

    Args:
        watcher: knows the network.
        token: what a request has to know; empty for none.
        hosts: names under which the page is reached; None for any.
    """

    def page(request: Request) -> Response:
        return FileResponse(STATIC / "index.html", media_type="text/html; charset=utf-8")

    def static(request: Request) -> Response:
        name = request.path_params["name"]
        kinds = {"app.js": "text/javascript", "app.css": "text/css", "icon.svg": "image/svg+xml"}
        if name not in kinds:
            return PlainTextResponse("not found", 404)
        return FileResponse(STATIC / name, media_type=kinds[name])

    def state(request: Request) -> Response:
        return Response(watcher.state, media_type="application/json")

    def history(request: Request) -> Response:
        return Response(watcher.history(), media_type="application/json")

    def spans(request: Request) -> Response:
        asked = request.query_params
        since, until = (_seconds(asked.get(name, "")) for name in ("since", "until"))
        try:
            found = watcher.spans(asked.getlist("lane"), since, until)
        except ZturboError as error:
            return JSONResponse({"error": str(error)}, 409)
        return Response(found, media_type="application/json")

    def lines(request: Request) -> Response:
        asked = request.query_params
        after = asked.get("after", "0")
        found = watcher.find_lines(
            int(after) if after.isdecimal() and len(after) < 16 else 0,
            words=asked.get("words", "")[:200],
            job=asked.get("job", "")[:32],
            source=asked.get("source", "")[:1000],
            host=asked.get("host", "")[:1000],
            level=asked.get("level", ""),
            incidents=asked.get("incidents") == "1",
        )
        return Response(found, media_type="application/json")

    def job(request: Request) -> Response:
        name = request.path_params["job"]
        try:
            found = watcher.client.jobs(name) if watcher.client is not None and is_job_id(name) else []
        except ZturboError as error:
            return JSONResponse({"error": str(error)}, 409)
        return JSONResponse(found[0] if found else {"error": "no such job"}, 200 if found else 404)

    def metrics(request: Request) -> Response:
        text, kind = exposition(watcher)
        return Response(text, headers={"Content-Type": kind})

    def health(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    def ready(request: Request) -> Response:
        return PlainTextResponse(
            f"{watcher.error}\n" if watcher.error else "ok\n", 503 if watcher.error else 200
        )

    async def act(request: Request) -> Response:
        action = {"cancel": _cancel, "retry": _retry, "failures": _failures}.get(request.path_params["what"])
        if action is None:
            return PlainTextResponse("not found", 404)
        if watcher.client is None:
            return JSONResponse({"error": watcher.error}, 503)
        try:
            done = await run_in_threadpool(action, watcher.client, request.path_params["job"])
            return JSONResponse(done, 409 if "error" in done else 200)
        except ZturboError as error:
            return JSONResponse({"error": str(error)}, 409)

    routes = [
        Route("/", lambda request: RedirectResponse("/pipeline", 307)),
        *(Route(f"/{view}", page) for view in VIEWS),
        Route("/jobs/{job}", page),
        Route("/static/{name}", static),
        Route("/api/state", state),
        Route("/api/history", history),
        Route("/api/spans", spans),
        Route("/api/logs", lines),
        Route("/api/jobs/{job}", job),
        Route("/api/jobs/{job}/{what}", act, methods=["POST"]),
        Route("/metrics", metrics),
        Route("/health", health),
        Route("/ready", ready),
    ]
    app = Starlette(routes=routes)
    app.add_middleware(BaseHTTPMiddleware, dispatch=_Guard(token, hosts))
    return app


def _seconds(text: str) -> float:
    """A number of a query; 0.0 if it is none."""
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def _cancel(client: Client, job: str) -> dict[str, Any]:
    if client.attach(job).cancel():
        return {"text": "the job is cancelled"}
    return {"error": "the job had ended before: there was nothing to cancel"}


def _retry(client: Client, job: str) -> dict[str, Any]:
    again = client.attach(job).retry_failed()
    return {"text": f"its failed tasks run again as job {again.id}", "job": again.id}


def _failures(client: Client, job: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    for task in client.attach(job, from_start=True).tasks(30):
        if not task.success and len(found) < FAILURES:
            more: dict[str, Any] = {"error": "failed"}
            if isinstance(task, FailedTask):
                more = {
                    "error": str(task.error),
                    "stage": task.stage,
                    "host": task.host,
                    "traceback": clip(task.traceback or "", LONGEST),
                }
            found.append({**more, "input": clip(repr(task.content), LONGEST)})
    return {"failures": found}
