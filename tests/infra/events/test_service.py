"""The event service: what MLflow did not sign, sent long ago or twice, or nobody could have meant is refused."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import httpx
import pytest
from mlflow.entities.webhook import Webhook

from blocks.environment import Environment
from infra.events.delivery import ID_HEADER, SIGNATURE_HEADER, TIME_HEADER, signature
from infra.events.relay import event_id
from infra.events.settings import EventSettings
from infra.local.settings import ROOT, LocalStack
from infra.local.supervision import start_programs, stop_program
from tests.apparatus.deliveries import alias_body, counted, deliver, events_of, signed
from tests.apparatus.models import register_linear
from tests.apparatus.ports import free_port

DELIVERIES = 100


@pytest.fixture
def model_name() -> str:
    return f"hook-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def secret(stack: LocalStack) -> str:
    return stack.webhook_secret


def test_an_alias_set_in_mlflow_becomes_an_event_with_numbers_as_numbers(
    environment: Environment, model_name: str
) -> None:
    register_linear(environment.registry, model_name, seed=1)

    (event,) = events_of(model_name, 1)

    assert event.event == "mlflow.model-version-alias.created"
    assert event.resource.id == f"mlflow.registered-model.{model_name}"
    assert event.resource["mlflow.alias"] == "deploy"
    assert (event.payload["model"], event.payload["alias"], event.payload["version"]) == (model_name, "deploy", 1)

    environment.registry.remove_alias(model_name, "deploy")

    assert "mlflow.model-version-alias.deleted" in {found.event for found in events_of(model_name, 2)}


def test_the_events_id_follows_from_the_deliverys(stack: LocalStack, model_name: str, secret: str) -> None:
    delivery_id, body = uuid.uuid4(), alias_body(model_name)

    answer = deliver(stack.events_url, body, signed(body, secret, delivery_id))

    assert answer.status_code == 202
    assert [event.id for event in events_of(model_name, 1)] == [event_id(delivery_id)]


def refused(stack: LocalStack, body: bytes, headers: dict[str, str], outcome: str) -> httpx.Response:
    """Deliver what has to be refused, and check that it is counted as such."""
    before = counted(stack.events_url)
    answer = deliver(stack.events_url, body, headers)
    after = counted(stack.events_url)
    assert after[outcome] == before[outcome] + 1
    assert after["accepted"] == before["accepted"]
    return answer


def test_a_forged_delivery_is_refused(stack: LocalStack, model_name: str, secret: str) -> None:
    body = alias_body(model_name)
    tampered = alias_body(f"other-{model_name}")

    assert refused(stack, body, signed(body, "guessed" * 5), "forged").status_code == 401
    assert refused(stack, tampered, signed(body, secret), "forged").status_code == 401
    assert events_of(model_name) == events_of(f"other-{model_name}") == []


def test_a_replayed_delivery_is_refused(stack: LocalStack, model_name: str, secret: str) -> None:
    body = alias_body(model_name)
    headers = signed(body, secret)
    assert deliver(stack.events_url, body, headers).status_code == 202

    answer = refused(stack, body, headers, "duplicate")

    assert answer.status_code == 409
    assert "accepted before" in answer.json()["error"]
    assert len(events_of(model_name, 1)) == 1


def test_a_stale_delivery_is_refused(stack: LocalStack, model_name: str, secret: str) -> None:
    body = alias_body(model_name)

    for age_s in (3600, -3600):
        answer = refused(stack, body, signed(body, secret, age_s=age_s), "stale")
        assert answer.status_code == 401
        assert "expected at most 300 s" in answer.json()["error"]


def test_an_oversized_delivery_is_refused_before_it_is_read_whole(stack: LocalStack, secret: str) -> None:
    body = b"x" * 10_000_000

    assert refused(stack, body, signed(body, secret), "oversized").status_code == 413


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", alias_body("x").replace(b'"1"', b'"one"'), alias_body("x").replace(b"_alias", b"_tag")],
    ids=["empty", "no JSON", "a list", "no number", "another entity"],
)
def test_a_malformed_delivery_is_refused_and_the_answer_says_where(stack: LocalStack, secret: str, body: bytes) -> None:
    answer = refused(stack, body, signed(body, secret), "malformed")

    assert answer.status_code == 400
    assert "expected a model_version_alias event" in answer.json()["error"]


@pytest.mark.parametrize("missing", ["x-mlflow-delivery-id", "x-mlflow-timestamp", "x-mlflow-signature"])
def test_a_delivery_without_its_headers_is_refused(stack: LocalStack, secret: str, missing: str) -> None:
    body = alias_body("x")
    headers = {name: value for name, value in signed(body, secret).items() if name != missing}

    assert refused(stack, body, headers, "malformed").status_code == 400


def test_a_burst_loses_nothing(stack: LocalStack, model_name: str, secret: str) -> None:
    bodies = [alias_body(f"{model_name}-{number}") for number in range(DELIVERIES)]

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda body: deliver(stack.events_url, body, signed(body, secret)), bodies))

    assert {answer.status_code for answer in answers} == {202}
    assert len({event.resource.id for event in events_of(model_name, DELIVERIES)}) == DELIVERIES


def test_what_one_replica_accepted_and_another_gets_again_is_one_event(
    stack: LocalStack, model_name: str, secret: str
) -> None:
    body = alias_body(model_name)
    headers = signed(body, secret)
    assert deliver(stack.events_url, body, headers).status_code == 202
    stop_program(stack, "events")  # the next one remembers nothing
    start_programs(stack, ["events"])
    await_answer(stack.events_url)

    assert deliver(stack.events_url, body, headers).status_code == 202
    time.sleep(2)
    assert len(events_of(model_name, 1)) == 1


def test_where_prefect_does_not_answer_mlflow_is_asked_to_try_again(
    stack: LocalStack, model_name: str, secret: str
) -> None:
    body = alias_body(model_name)
    headers = signed(body, secret)
    nobody = {"PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api", "SLIPWAY_PREFECT_TIMEOUT_S": "2"}

    with service(stack, **nobody) as url:
        answers = [httpx.post(f"{url}/webhooks/mlflow", content=body, headers=headers, timeout=30) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [503, 503], "not remembered as accepted"
    assert "Prefect did not take the event" in answers[0].json()["error"]


def test_the_webhook_is_registered_once_however_often_the_service_starts(
    stack: LocalStack, environment: Environment
) -> None:
    address = f"http://127.0.0.1:{free_port()}/webhooks/mlflow"
    client = environment.registry.connect()
    for _ in range(2):  # what two replicas that start at the same moment leave
        client.create_webhook("slipway", address, ["model_version_alias.created"], secret="x" * 20)

    with service(stack, SLIPWAY_EVENTS_URL=address), service(stack, SLIPWAY_EVENTS_URL=address):
        ours = [webhook for webhook in client.list_webhooks(max_results=100) if webhook.url == address]

    assert len(ours) == 1
    assert {str(event) for event in ours[0].events} == {"model_version_alias.created", "model_version_alias.deleted"}
    client.delete_webhook(ours[0].webhook_id)


def test_a_webhook_that_is_removed_is_made_anew(stack: LocalStack, environment: Environment) -> None:
    client, address = environment.registry.connect(), f"http://127.0.0.1:{free_port()}/webhooks/mlflow"

    def ours() -> list[str]:
        return [found.webhook_id for found in client.list_webhooks(max_results=100) if found.url == address]

    with service(stack, SLIPWAY_EVENTS_URL=address, SLIPWAY_WEBHOOK_CHECK_S="0.5"):
        (removed,) = ours()
        client.delete_webhook(removed)
        end = time.monotonic() + 30
        while not (made := ours()):
            assert time.monotonic() < end, "the webhook stays away"
            time.sleep(0.2)

    assert len(made) == 1 and made != [removed]
    forget_webhook(address)


def test_a_webhook_that_is_disabled_is_enabled_again(stack: LocalStack, environment: Environment) -> None:
    client, address = environment.registry.connect(), f"http://127.0.0.1:{free_port()}/webhooks/mlflow"

    def ours() -> Webhook:
        (found,) = [found for found in client.list_webhooks(max_results=100) if found.url == address]
        return found

    with service(stack, SLIPWAY_EVENTS_URL=address, SLIPWAY_WEBHOOK_CHECK_S="0.5"):
        client.update_webhook(ours().webhook_id, status="DISABLED")
        end = time.monotonic() + 30
        while str(ours().status) != "ACTIVE":
            assert time.monotonic() < end, "it stays disabled"
            time.sleep(0.2)
    forget_webhook(address)


def test_a_body_of_another_time_than_its_headers_is_refused(stack: LocalStack, model_name: str, secret: str) -> None:
    long_ago = alias_body(model_name).replace(str(datetime.now(UTC).year).encode(), b"2025")

    assert refused(stack, long_ago, signed(long_ago, secret), "stale").status_code == 401


def test_a_signed_time_of_four_hundred_digits_is_malformed(stack: LocalStack, secret: str) -> None:
    body, delivery_id = alias_body("x"), uuid.uuid4()
    headers = {
        ID_HEADER: str(delivery_id),
        TIME_HEADER: str(10**400),
        SIGNATURE_HEADER: signature(delivery_id, 10**400, body, secret.encode()),
    }

    assert refused(stack, body, headers, "malformed").status_code == 400


def test_a_setting_that_is_missing_or_weak_is_named() -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")}
    command = [sys.executable, "-m", "infra", "events"]

    finished = subprocess.run(
        command, cwd=ROOT, env=variables | {"SLIPWAY_WEBHOOK_SECRET": "short"}, capture_output=True, text=True
    )

    assert finished.returncode == 2
    assert "SLIPWAY_MLFLOW_TRACKING_URI: Field required" in finished.stderr
    assert "SLIPWAY_WEBHOOK_SECRET: Value error, expected at least 16 characters" in finished.stderr


def test_a_secret_that_was_changed_is_believed_until_what_it_signed_has_arrived() -> None:
    settings = EventSettings.model_validate(
        {
            "mlflow_tracking_uri": "http://mlflow",
            "events_url": "http://events",
            "webhook_secret": "n" * 20,
            "webhook_secret_before": "o" * 20,
        }
    )

    assert settings.secrets == (b"n" * 20, b"o" * 20)


@contextmanager
def service(stack: LocalStack, **variables: str) -> Iterator[str]:
    """Run another event service beside the stack's; yield its address once MLflow would deliver to it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    own = {"SLIPWAY_EVENTS_PORT": str(port), "SLIPWAY_EVENTS_URL": f"{url}/webhooks/mlflow"} | variables
    process = subprocess.Popen([sys.executable, "-m", "infra", "events"], cwd=ROOT, env=os.environ | own)
    try:
        await_answer(url)
        yield url
    finally:
        process.terminate()
        process.wait(20)
        forget_webhook(f"{url}/webhooks/mlflow")


def forget_webhook(url: str) -> None:
    """Take back what a service of a test registered."""
    from blocks.environment import load_environment

    client = load_environment().registry.connect()
    for webhook in client.list_webhooks(max_results=100):
        if webhook.url == url:
            client.delete_webhook(webhook.webhook_id)


def await_answer(url: str, within_s: float = 180) -> None:
    """Wait until a service is ready."""
    end = time.monotonic() + within_s
    while True:
        try:
            if httpx.get(f"{url}/ready", timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        assert time.monotonic() < end, f"{url} is not ready"
        time.sleep(0.2)
