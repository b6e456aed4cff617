"""docs/migrating/helm-chart.md: what its lines of helm draw, and what the line that asks for a port finds there."""

import argparse
import re
import shlex
from pathlib import Path
from string import Template
from typing import Any

import yaml

from infra.kubernetes.releases import merge_values
from infra.local.settings import ROOT
from tests.apparatus.charts import Object, containers, environment, one, render

PAGE = (ROOT / "docs" / "migrating" / "helm-chart.md").read_text()
(BLOCK,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
LINES = BLOCK.splitlines()
GIVEN = dict(line.split("=", 1) for line in LINES if re.fullmatch(r"[A-Z_]+=[a-z]+", line))
THEIRS = """
gitSync: {enabled: true, image: "registry.k8s.io/git-sync/git-sync:v4.3.0", subPath: model_repository}
tritonServers: [{name: onnx-model, image: "tritonserver:v1", args: [tritonserver], env: [{name: A, value: b}]}]
"""


def words(beginning: str) -> list[str]:
    (line,) = (line for line in LINES if line.startswith(beginning))
    return shlex.split(Template(line).safe_substitute(GIVEN))


def install() -> list[Object]:
    """What the page's own `helm upgrade --install` puts on a cluster."""
    parser = argparse.ArgumentParser()
    for name in ("release", "chart"):
        parser.add_argument(name)
    parser.add_argument("--install", action="store_true", required=True)
    parser.add_argument("--create-namespace", action="store_true", required=True)
    parser.add_argument("--namespace")
    parser.add_argument("-f", dest="files", action="append", type=Path, default=[])
    given = parser.parse_args(words("helm upgrade")[2:])
    assert Path(given.chart).parent == Path("infra/charts") and given.namespace == GIVEN["NAMESPACE"]
    values = merge_values([ROOT / file for file in given.files])
    return render(Path(given.chart).name, values, release=given.release)


def find_port(objects: list[Object]) -> int:
    """What the page's `kubectl get svc` prints: services with its labels, by name, and of the first its jsonpath."""
    (asked,) = re.findall(r"\$\((kubectl get svc .*)\)", BLOCK)
    found = shlex.split(Template(asked).safe_substitute(GIVEN))
    labels = dict(label.split("=") for label in found[found.index("-l") + 1].split(","))
    assert found[-1] == "jsonpath={.items[0].spec.ports[0].nodePort}"
    services = [
        item
        for item in objects
        if item["kind"] == "Service" and labels.items() <= item["metadata"].get("labels", {}).items()
    ]
    first = min(services, key=lambda item: str(item["metadata"]["name"]))
    port: int = first["spec"]["ports"][0]["nodePort"]
    return port


def test_the_install_line_draws_a_server_on_the_branch_and_its_port_is_found() -> None:
    objects = install()

    server = one(objects, "Deployment", "triton-onnx-model")["spec"]["template"]["spec"]["containers"][0]
    assert "--model-repository=/git/current/model_repository" in server["args"]
    assert environment(server)["MLFLOW_MODEL_NAME"] == "yolo11n-onnx"
    assert find_port(objects) == 30800
    assert one(objects, "Service", "triton-onnx-model")["spec"]["ports"][0]["name"] == "http"


def test_every_key_of_the_table_is_one_of_the_chart() -> None:
    keys = set(re.findall(r"`((?:git|service|control)\.[a-zA-Z.]+)", PAGE))
    common = yaml.safe_load((ROOT / "infra" / "charts" / "triton" / "values.yaml").read_text())

    def look_up(path: str) -> Any:
        found: Any = common
        for part in path.split("."):
            found = found[part]
        return found

    assert {"git.repository", "git.ref", "git.path", "git.secret.name"} <= keys
    for key in keys:
        look_up(key)


def test_their_values_under_the_new_names_draw_what_theirs_mean() -> None:
    theirs = yaml.safe_load(THEIRS)
    (server,) = theirs["tritonServers"]
    image, tag = theirs["gitSync"]["image"].rsplit(":", 1)
    ours = {
        "modelSource": "git",
        "git": {
            "repository": "https://github.com/me/gitops.git",
            "path": theirs["gitSync"]["subPath"],
            "image": {"repository": image, "tag": tag},
        },
        "tritonServers": [
            {
                "name": server["name"],
                "image": dict(zip(("repository", "tag"), server["image"].split(":"), strict=True)),
                "environment": {item["name"]: item["value"] for item in server["env"]},
                "service": {"type": "NodePort"},
            }
        ],
    }
    first, triton, follower = containers(render("triton", ours))[:3]

    assert triton["image"] == server["image"] and environment(triton)["A"] == "b"
    assert first["image"] == follower["image"] == theirs["gitSync"]["image"]
    assert triton["command"] == server["args"]


def test_what_is_removed_is_what_was_installed() -> None:
    assert words("helm uninstall")[2:] == [GIVEN["TRITON_SERVER_NAME"], "-n", GIVEN["NAMESPACE"]]
    assert words("kubectl delete")[2:] == ["namespace", GIVEN["NAMESPACE"]]
    assert (ROOT / words("python examples")[1]).exists()
