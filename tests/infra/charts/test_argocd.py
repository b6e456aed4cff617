"""The Argo CD Applications of the charts."""

import pytest
import yaml

from infra.kubernetes.releases import CHARTS
from tests.apparatus.charts import render, secrets_of, values_of


@pytest.mark.parametrize("name", ["triton", "slipway"])
def test_follow_the_chart_with_values_it_accepts(name: str) -> None:
    application = yaml.safe_load((CHARTS.parent / "argocd" / f"{name}.yaml").read_text())
    spec = application["spec"]

    assert (application["apiVersion"], application["kind"]) == ("argoproj.io/v1alpha1", "Application")
    chart = CHARTS.parents[1] / spec["source"]["path"]
    assert chart == CHARTS / name
    assert spec["syncPolicy"]["automated"] == {"prune": False, "selfHeal": True}
    assert "CreateNamespace=true" in spec["syncPolicy"]["syncOptions"]
    assert spec["ignoreDifferences"][0]["jsonPointers"] == ["/spec/replicas"]
    assert render(name, values_of(name, tuple(spec["source"]["helm"]["valueFiles"])))


@pytest.mark.parametrize("name", ["triton", "slipway"])
def test_follow_a_tag_of_the_version_the_chart_has(name: str) -> None:
    application = yaml.safe_load((CHARTS.parent / "argocd" / f"{name}.yaml").read_text())

    version = yaml.safe_load((CHARTS / name / "Chart.yaml").read_text())["version"]
    assert application["spec"]["source"]["targetRevision"] == f"v{version}"


@pytest.mark.parametrize("name", ["triton", "slipway"])
def test_name_every_secret_since_one_made_while_rendering_would_be_another_each_time(name: str) -> None:
    application = yaml.safe_load((CHARTS.parent / "argocd" / f"{name}.yaml").read_text())

    files = tuple(application["spec"]["source"]["helm"]["valueFiles"])
    assert secrets_of(render(name, values_of(name, files))) == {}
