"""A page from anywhere, in a browser beside the local stack, sends to every port and neither reads nor changes."""

import base64
import http.client
import json
from collections.abc import Iterator
from typing import NamedTuple

import psutil
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException
from websockets import ConnectionClosed, InvalidStatus, Origin, Subprotocol
from websockets.sync.client import connect

from blocks.fleet import CONTROL_HEADER
from infra.local import environment_file, environments, supervision
from infra.local import stack as local
from infra.local.settings import MODELS_BUCKET, LocalStack

EVIL = "http://evil.example"
BACKEND = base64.b64encode(b"import os; os.system('true')").decode()
CODE = {"parameters": {"config": '{"backend": "python"}', "file:1/model.py": BACKEND}}


class Attack(NamedTuple):
    """A request that changes or tells something where nobody stops it."""

    method: str
    path: str
    body: object = None

    def sent(self, stack: LocalStack, port: int, headers: dict[str, str]) -> "Outcome":
        """Send it to one port, as a page would without asking first."""
        connection = http.client.HTTPConnection(stack.host, port, timeout=10)
        body = json.dumps(self.body).encode() if self.body is not None else b""
        try:
            connection.request(self.method, self.path, body, {"Content-Type": "text/plain"} | headers)
            answer = connection.getresponse()
            return Outcome(answer.status, answer.getheader("Access-Control-Allow-Origin"), answer.read(100_000))
        except (OSError, http.client.HTTPException):
            return Outcome(None, None, b"")  # gRPC does not speak what browsers speak
        finally:
            connection.close()


class Outcome(NamedTuple):
    """What came back: no status where the port speaks no HTTP/1."""

    status: int | None
    granted_to: str | None
    body: bytes

    @property
    def refused(self) -> bool:
        """True where the request was not carried out."""
        return self.status is None or self.status >= 400


CHANGES = [
    Attack("POST", "/v2/repository/models/planted/load", CODE),
    Attack("POST", "/v2/repository/index", {}),
    Attack("POST", "/v2/systemsharedmemory/region/x/register", {"key": "/x", "offset": 0, "byte_size": 8}),
    Attack("POST", "/v2/logging", {"log_verbose_level": 1}),
    Attack("POST", "/v2/trace/setting", {"trace_level": ["TIMESTAMPS"]}),
    Attack("POST", "/api/block_documents/filter", {"include_secrets": True}),
    Attack("POST", "/api/deployments/filter", {}),
    Attack("POST", "/api/flow_runs/", {"name": "planted", "flow_id": "0"}),
    Attack("POST", "/api/2.0/mlflow/registered-models/create", {"name": "planted"}),
    Attack("POST", "/ajax-api/2.0/mlflow/registered-models/create", {"name": "planted"}),
    Attack("POST", "/graphql", {"query": "{__typename}"}),
    Attack("POST", "/webhooks/mlflow", {"entity": "model_version_alias", "action": "created"}),
    Attack("POST", f"/{MODELS_BUCKET}/planted", {}),
    Attack("PUT", f"/{MODELS_BUCKET}/planted", {}),
    Attack("DELETE", f"/{MODELS_BUCKET}/repository/.keep"),
    Attack("POST", f"/buckets/{MODELS_BUCKET}/planted", {}),
    Attack("POST", "/dir/assign", {}),
    Attack("POST", "/submit", {}),
    Attack("POST", "/1,01637037d6", {}),
    Attack("DELETE", "/1,01637037d6"),
]
# what only one server answers, since Prefect's pages answer every GET that they do not know with themselves
READS = {
    "prefect": [Attack("GET", "/api/block_types/slug/aws-credentials"), Attack("GET", "/api/admin/settings")],
    "mlflow": [Attack("GET", "/api/2.0/mlflow/registered-models/search")],
    "s3": [Attack("GET", "/"), Attack("GET", f"/{MODELS_BUCKET}?list-type=2"), Attack("GET", "/1,01637037d6")],
    "events": [Attack("GET", "/webhooks/mlflow")],
    "triton-0": [Attack("GET", "/v2/models/planted/config"), Attack("GET", "/v2/systemsharedmemory/status")],
}


def ports(stack: LocalStack, *servers: str) -> Iterator[int]:
    return (endpoint.port for endpoint in stack.endpoints if not servers or endpoint.server in servers)


@pytest.mark.parametrize("attack", CHANGES, ids=lambda attack: f"{attack.method} {attack.path}")
def test_what_a_page_sends_without_asking_is_refused_by_every_port(stack: LocalStack, attack: Attack) -> None:
    for headers in ({"Origin": EVIL}, {"Origin": EVIL, "Host": "evil.example"}, {"Origin": "null"}):
        outcomes = {port: attack.sent(stack, port, headers) for port in ports(stack)}

        assert {port: found for port, found in outcomes.items() if not found.refused} == {}


def test_a_page_whose_name_was_bound_to_loopback_reads_nothing(stack: LocalStack) -> None:
    rebound = {"Host": "evil.example"}

    outcomes = {
        (port, attack.path): attack.sent(stack, port, rebound)
        for server, attacks in READS.items()
        for attack in attacks
        for port in ports(stack, server)
    }

    # the store's master tells anybody where its parts are and how full; Triton's metrics answer others with nothing
    told = {place for place, found in outcomes.items() if not found.refused and found.body}
    assert told <= {(stack.s3_master_port, "/")}


@pytest.mark.parametrize("attack", CHANGES, ids=lambda attack: f"{attack.method} {attack.path}")
def test_no_port_allows_a_foreign_page_to_ask_and_read(stack: LocalStack, attack: Attack) -> None:
    asked = {"Origin": EVIL, "Access-Control-Request-Method": attack.method, "Access-Control-Request-Headers": "x"}
    preflight = Attack("OPTIONS", attack.path)

    granted = [port for port in ports(stack) if preflight.sent(stack, port, asked).granted_to in ("*", EVIL)]

    # SeaweedFS's volumes grant whatever is asked, and then want a token that only its own parts can make
    assert set(granted) <= {stack.s3_volume_port}
    for found in (attack.sent(stack, port, {"Origin": EVIL}) for port in granted):
        assert found.status in (400, 401)


STREAMS = [
    "events/in",
    "events/out",
    "logs/out",
    "task_runs/subscriptions/scheduled",
    "work_pools/local/workers/connect",
]


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("subprotocols", [None, [Subprotocol("prefect")]], ids=["old", "new"])
def test_a_web_socket_which_asks_no_origin_asks_for_the_password(
    stack: LocalStack, stream: str, subprotocols: list[Subprotocol] | None
) -> None:
    address = f"{stack.prefect_api_url.replace('http', 'ws', 1)}/{stream}"

    with (
        pytest.raises((InvalidStatus, ConnectionClosed)),
        connect(address, origin=Origin(EVIL), subprotocols=subprotocols, open_timeout=10, proxy=None) as socket,
    ):
        socket.send(json.dumps({"type": "auth", "token": "wrong"}))
        while json.loads(socket.recv(timeout=10))["type"] != "auth_success":
            continue


@pytest.mark.parametrize("headers", [{}, {CONTROL_HEADER: "wrong"}], ids=["no key", "wrong key"])
def test_model_control_over_grpc_asks_for_the_key(stack: LocalStack, headers: dict[str, str]) -> None:
    for address in stack.triton_addresses:
        with triton_grpc.InferenceServerClient(address) as client:
            bound = {"headers": headers, "client_timeout": 10}
            for control, *subject in (
                (client.load_model, "planted"),
                (client.unload_model, "planted"),
                (client.get_model_config, "planted"),
                (client.get_model_repository_index,),
                (client.get_log_settings,),
                (client.get_trace_settings,),
                (client.get_system_shared_memory_status,),
            ):
                with pytest.raises(InferenceServerException, match="expecting header"):
                    control(*subject, **bound)


@pytest.mark.parametrize("key", [None, "wrong"])
def test_model_control_over_http_asks_for_the_key(stack: LocalStack, key: str | None) -> None:
    headers = {"slipway-control": key} if key else {}

    for url in (stack.triton_0_http_port, stack.triton_1_http_port):
        assert CHANGES[0].sent(stack, url, headers).status == 403


def test_with_the_key_model_control_answers_and_metrics_ask_for_none(stack: LocalStack) -> None:
    with_key = {"slipway-control": stack.triton_control_key}

    assert CHANGES[1].sent(stack, stack.triton_0_http_port, with_key).status == 200
    assert Attack("GET", "/metrics").sent(stack, stack.triton_0_metrics_port, {}).status == 200


def test_no_program_holds_another_ones_secrets(stack: LocalStack) -> None:
    replicas = set(stack.triton_names)
    holders = {
        stack.s3_secret_access_key: {"mlflow", *replicas},
        stack.webhook_secret: {"events"},
        stack.webhook_encryption_key: {"mlflow"},
        stack.prefect_auth_string: {"prefect", "worker", "events"},
        stack.triton_control_key: set(),  # the server takes it as an option
    }

    found = {secret: set[str]() for secret in holders}
    for program, running in supervision.list_programs(stack).items():
        for process in (parent := psutil.Process(running.pid), *parent.children(recursive=True)):
            try:
                environment = process.environ()
            except psutil.NoSuchProcess:  # a flow run's, which ended meanwhile
                continue
            values = " ".join(environment.values())
            for secret in holders:
                if secret in values:
                    found[secret].add(program)
            assert any(name.startswith("WEED_") for name in environment) == (program == "s3")

    assert found == holders


def test_what_people_keep_in_their_environment_reaches_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "PREFECT_API_KEY", "SLIPWAY_ALERTS_URL", "DATABASE_URL"):
        monkeypatch.setenv(name, "mine")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")

    inherited = environments.inherit_environment()

    assert "mine" not in inherited.values()
    assert inherited["HTTPS_PROXY"] == "http://proxy:3128"
    assert "PATH" in inherited


def test_what_holds_secrets_is_its_owner_s_alone(stack: LocalStack) -> None:
    secrets = ("supervisord.conf", "s3-identities.json", "prefect-auth-string", "triton-control-key")

    assert stack.state.stat().st_mode & 0o077 == 0
    for name in secrets:
        assert (stack.state / name).stat().st_mode & 0o077 == 0


def test_a_state_that_others_could_read_is_closed_to_them(tmp_path_factory: pytest.TempPathFactory) -> None:
    stack = LocalStack(state=tmp_path_factory.mktemp("open"))
    stack.state.chmod(0o755)

    with local.hold_alone(stack):
        assert stack.state.stat().st_mode & 0o777 == 0o700


def test_our_environment_file_is_its_owner_s_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("environment")
    stack, path = LocalStack(state=directory), directory / ".env"
    path.write_text(environment_file.HEADER)
    path.chmod(0o644)

    environment_file.write(stack, path)

    assert path.stat().st_mode & 0o077 == 0
    assert f"PREFECT_API_AUTH_STRING={stack.prefect_auth_string}\n" in path.read_text()
