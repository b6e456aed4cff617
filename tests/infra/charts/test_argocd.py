"""The Argo CD Applications of the charts."""

from typing import Any

import pytest
import yaml

from infra.kubernetes.releases import CHARTS
from slipway.releases.version_line import read_line
from tests.apparatus.charts import Object, render, secrets_of, values_of

every_application = pytest.mark.parametrize(
    ("application", "name"), [("triton", "triton"), ("triton-git", "triton"), ("slipway", "slipway")]
)


def read(application: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CHARTS.parent / "argocd" / f"{application}.yaml").read_text())
    assert found["metadata"]["name"] == application
    return found


def draw(application: str, name: str) -> list[Object]:
    helm = read(application)["spec"]["source"]["helm"]
    return render(name, values_of(name, tuple(helm["valueFiles"]), **helm.get("valuesObject", {})))


@every_application
def test_follow_the_chart_with_values_it_accepts(application: str, name: str) -> None:
    found = read(application)
    spec = found["spec"]

    assert (found["apiVersion"], found["kind"]) == ("argoproj.io/v1alpha1", "Application")
    chart = CHARTS.parents[1] / spec["source"]["path"]
    assert chart == CHARTS / name
    assert spec["syncPolicy"]["automated"] == {"prune": False, "selfHeal": True}
    assert "CreateNamespace=true" in spec["syncPolicy"]["syncOptions"]
    assert spec["ignoreDifferences"][0]["jsonPointers"] == ["/spec/replicas"]
    assert draw(application, name)


@pytest.mark.parametrize("name", ["triton", "slipway"])
def test_follow_a_tag_of_the_version_the_chart_has(name: str) -> None:
    version = yaml.safe_load((CHARTS / name / "Chart.yaml").read_text())["version"]
    assert read(name)["spec"]["source"]["targetRevision"] == f"v{version}"


def test_follow_the_branch_to_which_a_models_version_is_committed() -> None:
    source = read("triton-git")["spec"]["source"]
    (file,) = source["helm"]["valueFiles"]
    path = f"{source['path']}/{file}"

    line = read_line((CHARTS.parents[1] / path).read_bytes(), path, "onnx-model")
    rolled_out = yaml.safe_load(line.replace(7))["tritonServers"]
    assert source["targetRevision"] == "main"
    assert [server["environment"]["MLFLOW_MODEL_VERSION"] for server in rolled_out] == ["7", "1"]


@every_application
def test_name_every_secret_since_one_made_while_rendering_would_be_another_each_time(
    application: str, name: str
) -> None:
    assert secrets_of(draw(application, name)) == {}
