"""The event service: MLflow's webhooks in, Prefect's events out, figures for Prometheus beside.

POST /webhooks/mlflow   a delivery: 202 accepted, 4xx refused, 503 Prefect does not take it (MLflow tries again)
GET  /health            200 while the process serves
GET  /ready             200 once MLflow delivers here
GET  /metrics           counters
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from prefect.client.orchestration import PrefectClient, get_client
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter
from prefect.settings import PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED, temporary_settings
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from blocks.errors import SlipwayError
from blocks.events import PREFIX
from infra.events import metrics
from infra.events.delivery import Headers, Refused, Remembered, check_age, check_signature, check_times_agree, parse
from infra.events.quiet import HELD_BACK, PERIOD_S
from infra.events.relay import pass_on
from infra.events.settings import EventSettings
from infra.events.subscription import look_for_fault, subscribe

TRY_AGAIN_S = 5.0
BODY_TIMEOUT_S = 10.0
log = logging.getLogger("slipway.events")


class EventService:
    """One process of the event service; what it remembers may be lost."""

    def __init__(self, settings: EventSettings, client: PrefectClient) -> None:
        self._settings = settings
        self._client = client
        self._remembered = Remembered(settings.webhook_max_age_s)
        self.subscribed = False

    async def receive(self, request: Request) -> Response:
        """Answer one delivery."""
        try:
            outcome, answer = await self._accept(request)
        except Refused as explain_refusal:
            outcome, answer = (
                explain_refusal.outcome,
                JSONResponse({"error": str(explain_refusal)}, explain_refusal.status),
            )
            log.warning(f"delivery {outcome}: %s", explain_refusal)
        metrics.DELIVERIES.labels(outcome).inc()
        return answer

    async def _accept(self, request: Request) -> tuple[str, Response]:
        settings, now_s = self._settings, time.time()
        headers = Headers.of(request.headers)
        body = await _bounded_body(request, settings.webhook_max_bytes)
        check_signature(headers, body, settings.secrets)
        check_age(headers, now_s, settings.webhook_max_age_s)
        delivery = parse(body)
        check_times_agree(headers, delivery, settings.webhook_max_age_s)
        self._remembered.take(headers.delivery_id)
        try:
            await pass_on(self._client, delivery, headers.delivery_id, settings.prefect_timeout_s)
        except BaseException:
            self._remembered.forget(headers.delivery_id)
            raise
        log.info("%s %s of %s passed on", delivery.data.alias, delivery.action, delivery.data.name)
        return "accepted", JSONResponse({"delivery": str(headers.delivery_id)}, 202)

    async def keep_subscribed(self) -> None:
        """Have MLflow deliver here: tried until it does, and again where its webhook is gone or disabled some day."""
        settings = self._settings
        while True:
            try:
                amiss = await asyncio.to_thread(look_for_fault, settings)
                if amiss is not None or not self.subscribed:
                    await asyncio.to_thread(subscribe, settings)
                    self.subscribed = True
                    log.info("MLflow delivers to %s%s", settings.events_url, f"; its webhook {amiss}" if amiss else "")
            except SlipwayError as error:
                log.warning("the webhook in MLflow is to be seen to: %s", error)
            await asyncio.sleep(settings.webhook_check_s if self.subscribed else TRY_AGAIN_S)

    async def keep_telling(self) -> None:
        """Log once a minute how many refusals were held back meanwhile."""
        while True:
            await asyncio.sleep(PERIOD_S)
            HELD_BACK.tell()

    async def keep_counting(self) -> None:
        """Count slipway's events as Prefect receives them; the connection is made again as often as it breaks."""
        wanted = EventFilter(event=EventNameFilter(prefix=[PREFIX]))
        while True:
            try:
                async with get_events_subscriber(wanted, reconnect_on_clean_close=True) as events:
                    async for event in events:
                        metrics.count(event)
            except Exception as error:  # noqa: BLE001, whatever ended it: the figures must not end with it
                log.warning("not counting: %r", error)
            await asyncio.sleep(TRY_AGAIN_S)


async def _bounded_body(request: Request, most: int) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise Refused("oversized", 413, f"over {most} bytes; an alias event has a few hundred")
    except ClientDisconnect as error:
        raise Refused("malformed", 400, "the connection broke off in the middle of the body") from error
    except TimeoutError as error:
        raise Refused("malformed", 408, f"the body did not come within {BODY_TIMEOUT_S:g} s") from error
    return bytes(body)


def create_app(settings: EventSettings) -> Starlette:
    """Return the service as an ASGI application."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            # A Prefect that is not up yet keeps deliveries from being accepted, not the service from starting.
            with temporary_settings({PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED: False}):
                client = await stack.enter_async_context(get_client())
            group = await stack.enter_async_context(asyncio.TaskGroup())
            app.state.service = service = EventService(settings, client)
            kept = (service.keep_subscribed(), service.keep_counting(), service.keep_telling())
            beside = [group.create_task(kept_up) for kept_up in kept]
            yield
            for task in beside:
                task.cancel()

    async def receive(request: Request) -> Response:
        service: EventService = request.app.state.service
        return await service.receive(request)

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "alive", "subscribed": request.app.state.service.subscribed})

    async def ready(request: Request) -> Response:
        subscribed: bool = request.app.state.service.subscribed
        return JSONResponse({"subscribed": subscribed}, 200 if subscribed else 503)

    async def figures(request: Request) -> Response:  # noqa: ARG001
        return Response(generate_latest(metrics.REGISTRY), media_type=CONTENT_TYPE_LATEST)

    routes = [
        Route("/webhooks/mlflow", receive, methods=["POST"]),
        Route("/health", health),
        Route("/ready", ready),
        Route("/metrics", figures),
    ]
    return Starlette(routes=routes, lifespan=lifespan)
