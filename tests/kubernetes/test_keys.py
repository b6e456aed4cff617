"""What the charts put behind a key answers nobody without it, and the keys stay when everything is installed again."""

import httpx
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from blocks.fleet import TritonFleet
from infra.kubernetes.kubectl import forward
from tests.kubernetes.cluster import Cluster

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(900)]

ELSEWHERE = {"Origin": "http://evil.example"}
PYTHON = '{"parameters": {"config": "{}", "file:1/model.py": "cHJpbnQoMSk="}}'


def test_triton_loads_nothing_for_a_page_or_a_pod_without_the_key(cluster: Cluster) -> None:
    replica = cluster.replicas()[0].name
    with forward(cluster.namespace, replica, 8000) as http, forward(cluster.namespace, replica, 8001) as grpc:
        headers = ELSEWHERE | {"Content-Type": "text/plain"}
        answer = httpx.post(f"http://{http}/v2/repository/models/evil/load", content=PYTHON, headers=headers)
        assert answer.status_code == 403
        for path in ("repository/index", "logging", "trace/setting", "systemsharedmemory/region/x/register"):
            assert httpx.post(f"http://{http}/v2/{path}", content="{}").status_code == 403, path
        with triton.InferenceServerClient(grpc) as client, pytest.raises(InferenceServerException):
            client.load_model("evil", client_timeout=30)


def test_slipways_own_key_is_the_one_triton_asks_for(cluster: Cluster) -> None:
    with cluster.fleet() as fleet:
        assert isinstance(fleet, TritonFleet)
        assert all(fleet.read_index(address) is not None for address in fleet.list_addresses())


def test_prefect_answers_nobody_without_its_auth_string_and_lets_no_other_page_ask(cluster: Cluster) -> None:
    assert httpx.get(f"{cluster.prefect_url}/api/health").status_code == 200
    for host in ("evil.example", "localhost"):
        refused = httpx.post(
            f"{cluster.prefect_url}/api/block_documents/filter",
            json={"include_secrets": True},
            headers=ELSEWHERE | {"Host": host},
        )
        assert refused.status_code == 401
        assert "access-control-allow-origin" not in refused.headers


def test_installing_again_keeps_the_keys(cluster: Cluster) -> None:
    before = cluster.secret("control-key", "triton-control"), cluster.secret("auth-string", "prefect-auth")

    cluster.scale_triton(len(cluster.replicas()))

    assert (cluster.secret("control-key", "triton-control"), cluster.secret("auth-string", "prefect-auth")) == before
