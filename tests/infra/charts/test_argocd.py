"""The Argo CD Applications of the charts."""

import pytest
import yaml

from infra.kubernetes.releases import CHARTS
from tests.infra.charts.rendering import render, values_of


@pytest.mark.parametrize("name", ["triton", "slipway"])
def test_follow_the_chart_with_values_it_accepts(name: str) -> None:
    application = yaml.safe_load((CHARTS.parent / "argocd" / f"{name}.yaml").read_text())
    spec = application["spec"]

    assert (application["apiVersion"], application["kind"]) == ("argoproj.io/v1alpha1", "Application")
    chart = CHARTS.parents[1] / spec["source"]["path"]
    assert chart == CHARTS / name
    assert spec["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}
    assert "CreateNamespace=true" in spec["syncPolicy"]["syncOptions"]
    assert spec["ignoreDifferences"][0]["jsonPointers"] == ["/spec/replicas"]
    assert render(name, values_of(name, tuple(spec["source"]["helm"]["valueFiles"])))
