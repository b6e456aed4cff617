"""MLflow's webhooks on the cluster: forged ones are refused, none is lost for good."""

import uuid
from typing import Any

import pytest

from blocks.registry import ModelRegistry
from infra.events.delivery import ID_HEADER
from tests.apparatus.deliveries import alias_body, counted, deliver, events_of, signed
from tests.apparatus.models import register_linear
from tests.kubernetes.cluster import Cluster, eventually
from tests.kubernetes.released import POD_S
from tests.kubernetes.runs import completed

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(2700)]

EVENTS, EVENTS_PODS = "deployment/slipway-events", "app.kubernetes.io/component=events"


def test_what_mlflow_did_not_send_is_refused_and_counted(cluster: Cluster) -> None:
    secret, before = cluster.secret("webhook-secret"), counted(cluster.events_url)
    body, huge = alias_body("hook-cluster"), b"x" * 1_000_000
    headers = signed(body, secret)

    def answer(body: bytes, headers: dict[str, str]) -> int:
        return deliver(cluster.events_url, body, headers).status_code

    assert answer(body, headers) == 202
    assert answer(body, headers) == 409
    assert answer(body, signed(body, "guessed" * 5)) == 401
    assert answer(body, signed(body, secret, age_s=3600)) == 401
    assert answer(b"{", signed(b"{", secret)) == 400
    assert answer(body, {k: v for k, v in headers.items() if k != ID_HEADER}) == 400
    assert answer(huge, signed(huge, secret)) == 413

    after = counted(cluster.events_url)
    grown = {outcome: after[outcome] - before[outcome] for outcome in after if after[outcome] != before[outcome]}
    assert grown == {"accepted": 1, "duplicate": 1, "forged": 1, "stale": 1, "malformed": 2, "oversized": 1}


def test_a_burst_of_aliases_loses_none(cluster: Cluster, registry: ModelRegistry) -> None:
    name = f"burst-{uuid.uuid4().hex[:6]}"
    register_linear(registry, name, seed=1)
    for number in range(100):
        registry.set_alias(name, f"alias-{number}", 1)

    aliases = {event.payload["alias"] for event in events_of(name, 101, within_s=180)}

    assert aliases == {"deploy", *(f"alias-{number}" for number in range(100))}


@pytest.mark.exhaustive  # tests/flows/test_alias_updates.py stops one that is no pod
def test_what_was_set_while_the_service_was_down_is_found_by_the_poll(
    cluster: Cluster, registry: ModelRegistry
) -> None:
    prefix = f"down-{uuid.uuid4().hex[:6]}"
    names = [f"{prefix}-{number}-onnx" for number in range(2)]
    for number, name in enumerate(names):
        if number == 1:
            cluster.kubectl("scale", EVENTS, "--replicas=0")
            eventually("the end of the service", lambda: not events_pods(cluster), POD_S)
        register_linear(registry, name, seed=1)
    completed(cluster.run("poll-aliases/kubernetes"), POD_S)  # what MLflow tries again would prove nothing of the poll

    eventually("all events", lambda: {e.resource.name for e in events_of(prefix)} == set(names), 180)
    cluster.kubectl("scale", EVENTS, "--replicas=1")
    eventually(
        "all releases",
        lambda: all(registry.get_aliases(name).get("live") == 1 for name in names),
        900,
    )


def events_pods(cluster: Cluster) -> list[Any]:
    return cluster.objects("pods", EVENTS_PODS)
