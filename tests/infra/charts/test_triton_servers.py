"""The chart triton with several servers in one release, and with ports of the nodes."""

import json
from typing import Any

import pytest

from infra.kubernetes.releases import CHARTS
from infra.kubernetes.smoke import select_replicas
from tests.apparatus.charts import Object, environment, one, refusal, render, rendered, secrets_of

TWO = [
    {"name": "detector", "replicas": 3, "gpu": {"count": 1}, "service": {"nodePort": {"http": 30801}}},
    {"name": "classifier", "modelRepository": "s3://triton-models/classifiers", "environment": {"A": "b"}},
]
NODES = {"service": {"type": "NodePort"}}


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    return {item["metadata"]["name"]: item for item in objects if item["kind"] == kind}


def containers_by_server(objects: list[Object]) -> dict[str, Object]:
    drawn = of_kind(objects, "Deployment").items()
    return {name: item["spec"]["template"]["spec"]["containers"][0] for name, item in drawn}


def test_draws_everything_for_each_server_and_nothing_beside() -> None:
    common, two = rendered("triton"), render("triton", {"tritonServers": TWO, **NODES})

    assert of_kind(two, "Deployment").keys() == {"triton-detector", "triton-classifier"}
    assert of_kind(two, "Service").keys() == {
        f"triton-{name}{kind}" for name in ("detector", "classifier") for kind in ("", "-headless")
    }
    assert secrets_of(two).keys() == {"triton-detector-control", "triton-classifier-control"}
    assert sorted(item["kind"] for item in two) == sorted([item["kind"] for item in common] * 2)


def test_lays_a_servers_values_over_the_common_ones() -> None:
    objects = render("triton", {"tritonServers": TWO, **NODES, "environment": {"C": "d"}, "replicas": 1})
    detector, classifier = containers_by_server(objects).values()

    assert [item["spec"]["replicas"] for item in of_kind(objects, "Deployment").values()] == [3, 1]
    assert detector["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in classifier["resources"]["limits"]
    assert "--model-repository=s3://triton-models/repository" in detector["args"]
    assert "--model-repository=s3://triton-models/classifiers" in classifier["args"]
    assert environment(classifier).items() >= {"A": "b", "C": "d"}.items()
    assert "A" not in environment(detector)


def test_takes_a_servers_word_for_nothing_and_for_no_too() -> None:
    common = {"gpu": {"count": 2}, "networkPolicy": {"enabled": True}, "extraArguments": ["--a"]}
    quiet = {"name": "quiet", "gpu": {"count": 0}, "networkPolicy": {"enabled": False}, "extraArguments": []}
    objects = render("triton", {**common, "tritonServers": [quiet]})
    container = containers_by_server(objects)["triton-quiet"]

    assert "nvidia.com/gpu" not in container["resources"]["limits"]
    assert not of_kind(objects, "NetworkPolicy")
    assert "--a" not in container["args"]


def test_selects_no_pod_of_another_server() -> None:
    objects = render("triton", {"tritonServers": TWO, "replicas": 2, **NODES})
    pods = {
        name: item["spec"]["template"]["metadata"]["labels"] for name, item in of_kind(objects, "Deployment").items()
    }
    wanted = [
        *((item["metadata"]["name"], item["spec"]["selector"]) for item in of_kind(objects, "Service").values()),
        *(
            (item["metadata"]["name"], item["spec"]["selector"]["matchLabels"])
            for kind in ("Deployment", "PodDisruptionBudget")
            for item in of_kind(objects, kind).values()
        ),
        *(
            (item["metadata"]["name"], item["spec"]["podSelector"]["matchLabels"])
            for item in of_kind(objects, "NetworkPolicy").values()
        ),
    ]

    assert len(wanted) == 10
    for name, labels in wanted:
        assert [pod for pod, found in pods.items() if labels.items() <= found.items()] == [
            name.removesuffix("-headless")
        ]


def test_asks_each_server_for_its_own_readiness_and_spreads_its_own_replicas() -> None:
    objects = render("triton", {"tritonServers": TWO, **NODES})

    for name, test in of_kind(objects, "Pod").items():
        assert f"/dev/tcp/{name.removesuffix('-test')}/8000" in test["spec"]["containers"][0]["args"][0]
    for name, item in of_kind(objects, "Deployment").items():
        (spread, _) = item["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert spread["labelSelector"]["matchLabels"]["triton-server"] == name.removeprefix("triton-")


@pytest.mark.parametrize(("server", "found"), [(None, 2), ("detector", 1), ("nobody", 0)])
def test_has_its_replicas_found_by_the_smoke_test_all_or_those_of_one_server(server: str | None, found: int) -> None:
    objects = render("triton", {"tritonServers": TWO, **NODES})
    wanted = dict(label.split("=") for label in select_replicas("triton", server).split(",")).items()

    pods = [item["spec"]["template"]["metadata"]["labels"] for item in of_kind(objects, "Deployment").values()]
    assert sum(wanted <= labels.items() for labels in pods) == found


def test_names_one_server_as_it_always_did() -> None:
    assert all("triton-server" not in item["metadata"].get("labels", {}) for item in rendered("triton"))
    assert of_kind(rendered("triton"), "Service").keys() == {"triton", "triton-headless"}


@pytest.mark.parametrize("servers", [[], TWO])
def test_gives_exactly_one_service_a_server_the_label_by_which_its_port_is_found(servers: list[Any]) -> None:
    objects = render("triton", {"tritonServers": servers, **NODES})

    found = [item for item in of_kind(objects, "Service").values() if item["metadata"]["labels"].get("release")]
    assert len(found) == max(1, len(servers))
    for service in found:
        assert service["metadata"]["labels"]["release"] == "triton"
        assert service["spec"]["ports"][0]["port"] == 8000
        assert service["spec"].get("clusterIP") != "None"


def test_opens_the_ports_of_the_nodes_that_it_is_told_and_lets_the_cluster_choose_the_others() -> None:
    service = {"type": "NodePort", "nodePort": {"http": 30800, "metrics": 30802}, "externalTrafficPolicy": "Local"}
    objects = render("triton", {"service": service})
    spec = one(objects, "Service", "triton")["spec"]

    assert (spec["type"], spec["externalTrafficPolicy"]) == ("NodePort", "Local")
    assert [(port["name"], port.get("nodePort")) for port in spec["ports"]] == [
        ("http", 30800),
        ("grpc", None),
        ("metrics", 30802),
    ]
    assert "nodePort" not in str(one(objects, "Service", "triton-headless")["spec"])


def test_lets_in_those_outside_whose_addresses_it_is_told() -> None:
    policies = of_kind(rendered("triton", "values-git.yaml"), "NetworkPolicy").values()

    for policy in policies:
        (rule,) = (rule for rule in policy["spec"]["ingress"] if "ipBlock" in rule["from"][0])
        assert rule["from"] == [{"ipBlock": {"cidr": "203.0.113.0/24"}}]
        assert {port["port"] for port in rule["ports"]} == {"http", "grpc"}
    services = of_kind(rendered("triton", "values-git.yaml"), "Service")
    assert services["triton-onnx-model"]["spec"]["externalTrafficPolicy"] == "Local"  # the client's address is seen


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"tritonServers": [{"name": "a"}, {"name": "a"}]}, "the name a is that of tritonServers, a already"),
        (
            {**NODES, "tritonServers": [{"name": n, "service": {"nodePort": {"http": 30800}}} for n in ("a", "b")]},
            "tritonServers, b: the nodePort 30800 is that of tritonServers, a already",
        ),
        (
            {"service": {"type": "NodePort", "nodePort": {"http": 30800, "grpc": 30800}}},
            "triton: the nodePort 30800 is that of triton already",
        ),
        (
            {"serviceAccount": {"name": "ours"}, "tritonServers": [{"name": "a"}, {"name": "b"}]},
            "the service account ours to create is that of tritonServers, a already",
        ),
        ({"service": {"nodePort": {"http": 30800}}}, "service.nodePort.http is 30800 and service.type is ClusterIP"),
        (
            {"service": {"externalTrafficPolicy": "Local"}},
            "externalTrafficPolicy is Local and service.type is ClusterIP",
        ),
        (
            {"s3": {"secret": {"name": "keys"}}, "tritonServers": [{"name": "a", "modelSource": "git"}]},
            "tritonServers, a: modelSource is git and git.repository is empty",
        ),
        (
            {"control": {"secret": {"name": "keys"}}, "tritonServers": [{"name": "a", "control": {"open": True}}]},
            "tritonServers, a: control.open is true and control.secret.name is set",
        ),
        ({"tritonServers": [{"replicas": 2}]}, "name"),
        ({"tritonServers": [{"name": "a-headless"}]}, "/tritonServers/0/name"),
        ({"tritonServers": [{"name": "a", "args": ["tritonserver"]}]}, "args"),
        ({"tritonServers": [{"name": "a", "gpu": {"count": -1}}]}, "/tritonServers/0/gpu/count"),
        ({"service": {"type": "NodePort", "nodePort": {"https": 1}}}, "https"),
    ],
)
def test_refuses_servers_that_cannot_be_told_apart_or_do_not_add_up(values: dict[str, Any], said: str) -> None:
    assert said in refusal("triton", **values)


def test_keeps_names_apart_and_short_enough_where_the_releases_is_long() -> None:
    names = ["a" * 30, "a" * 29 + "b"]
    objects = render("triton", {"tritonServers": [{"name": name} for name in names]}, release="r" * 53)

    services = of_kind(objects, "Service")
    assert len(services) == 4 and max(map(len, services)) <= 63


def test_accepts_for_a_server_whatever_it_accepts_for_all() -> None:
    schema = json.loads((CHARTS / "triton" / "values.schema.json").read_text())

    kept = {"global", "imagePullSecrets", "tritonServers"}
    own = schema["definitions"]["server"]["properties"]
    assert own.keys() - {"name"} == schema["properties"].keys() - kept
    assert all(own[key] == {"$ref": f"#/properties/{key}"} for key in own.keys() - {"name"})
