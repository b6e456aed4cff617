"""Who asks a registry is decided by the registry asked, and a refusal is told apart from silence."""

import base64
import http.server
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from blocks.errors import AccessRefused
from blocks.registry import ModelRegistry
from tests.apparatus.faults import failing_server


@contextmanager
def registry_that_says_who_asked(name: str) -> Iterator[str]:
    """Yield the URL of a server whose one model has a tag with the Authorization header it was asked with."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tags = [{"key": "asked_by", "value": self.headers.get("Authorization", "nobody")}]
            body = json.dumps({"registered_model": {"name": name, "tags": tags}}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModelRegistry]]:
    """Three registries by the header each is to be asked with: a user's, a token's, nobody's."""
    for variable in ("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(variable, raising=False)
    with (
        registry_that_says_who_asked("a") as first,
        registry_that_says_who_asked("b") as second,
        registry_that_says_who_asked("c") as third,
    ):
        yield {
            basic("ann", "secret"): ModelRegistry(tracking_uri=first, username="ann", password="secret"),
            "Bearer a-token": ModelRegistry(tracking_uri=f"{second}/", token="a-token"),
            "nobody": ModelRegistry(tracking_uri=third),
        }


def test_each_of_two_registries_is_asked_by_its_own_user_in_turn(registries: dict[str, ModelRegistry]) -> None:
    for expected, registry in [*registries.items()] * 2:
        assert registry.get_model("m").tags["asked_by"] == expected


def test_a_client_made_before_another_registry_was_asked_keeps_its_user(registries: dict[str, ModelRegistry]) -> None:
    clients = {expected: registry.connect() for expected, registry in registries.items()}

    for expected, client in clients.items():
        assert client.get_registered_model("m").tags["asked_by"] == expected


def test_threads_that_ask_different_registries_do_not_mix_up_their_users(
    registries: dict[str, ModelRegistry],
) -> None:
    with ThreadPoolExecutor(6) as pool:
        asked = [(expected, pool.submit(registry.get_model, "m")) for expected, registry in [*registries.items()] * 20]

    assert all(found.result().tags["asked_by"] == expected for expected, found in asked)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_user_is_told_which_setting_names_another(status: int) -> None:
    with failing_server(status) as url, pytest.raises(AccessRefused, match=r"SLIPWAY_MLFLOW_USERNAME"):
        ModelRegistry(tracking_uri=url, max_retries=0).find_at_alias("m", "champion")
