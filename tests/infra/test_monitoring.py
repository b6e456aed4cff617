"""The dashboard, the alerts and the autoscaler's rule ask for metrics that exist, and every alert says what to do."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from blocks.environment import Environment
from flows.deployment import deploy_model
from infra.events.metrics import list_names
from infra.kubernetes.releases import CHARTS
from infra.local.settings import ROOT, LocalStack
from tests.apparatus.models import FEATURES, register_linear

MONITORING = ROOT / "infra" / "monitoring"
# Triton exposes these only where there is a GPU:
# https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/metrics.html#gpu-metrics
GPU_METRICS = {"nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes"}
PROMETHEUS_METRICS = {"up"}
SEVERITIES = {"critical", "warning"}
WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


def metric_names(expression: str) -> set[str]:
    """Return the metrics a PromQL expression reads: its identifiers less strings, labels, functions and words."""
    text = re.sub(r'"(\\.|[^"\\])*"|<<[^>]*>>', "", expression)
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", text)
    text = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", text)
    text = re.sub(r"\boffset\s+\w+|\b\d[\w.]*", "", text)
    found = re.findall(r"\b([a-zA-Z_:][\w:]*)\b(?!\s*\()", text)
    return set(found) - WORDS


def alerts() -> Iterator[dict[str, Any]]:
    document = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    for group in document["spec"]["groups"]:
        yield from group["rules"]


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
    return loaded


def expressions() -> Iterator[tuple[str, str]]:
    """Every PromQL expression with the words that name it."""
    for rule in alerts():
        yield f"alert {rule['alert']}", rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield f"panel {panel['title']}", target["expr"]
    for annotation in dashboard()["annotations"]["list"]:
        if annotation["datasource"]["type"] != "prometheus":
            continue  # Grafana's own, by their tag
        yield f"annotation {annotation['name']}", annotation["expr"]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", re.sub(r"label_values\((.*), \w+\)", r"\1", variable["definition"])
    adapter = yaml.safe_load((MONITORING / "prometheus-adapter.yaml").read_text())
    for rule in adapter["rules"]["custom"]:
        yield "autoscaling", rule["metricsQuery"]
        yield "autoscaling", rule["seriesQuery"]


ALL = [pytest.param(expression, id=subject) for subject, expression in expressions()]


@pytest.fixture(scope="module")
def triton_metrics(stack: LocalStack, environment: Environment) -> set[str]:
    """The names of everything a Triton exposes that has answered a request."""
    register_linear(environment.registry, "test-metrics-onnx", seed=1)
    deploy_model("test-metrics-onnx")
    address = stack.triton_addresses[0]
    environment.fleet.infer(
        address, "test-metrics-onnx", {"input": np.ones((1, FEATURES), np.float32)}, ["output"], None
    )
    text = httpx.get(f"http://{stack.triton_metrics[0]}/metrics").raise_for_status().text
    return set(re.findall(r"^(nv_\w+)[{ ]", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("expression", "metrics"),
    [
        ('sum by (model) (rate(nv_a{model=~"x", by="nv_b"}[5m])) / nv_c > 0.01', {"nv_a", "nv_c"}),
        ("max by (m) (increase(s_total[1h])) or t unless t offset 30m", {"s_total", "t"}),
        ("count(a) != on (n) group_left () count by (n) (b)", {"a", "b"}),
        ("time() - max(s_seconds) > 1200", {"s_seconds"}),
    ],
)
def test_the_metrics_of_an_expression_are_told_from_its_other_words(expression: str, metrics: set[str]) -> None:
    assert metric_names(expression) == metrics


@pytest.mark.parametrize("expression", ALL)
def test_every_expression_reads_metrics_of_triton_of_the_event_service_or_of_prometheus(expression: str) -> None:
    unknown = {name for name in metric_names(expression) if not name.startswith("nv_")}

    assert unknown <= set(list_names()) | PROMETHEUS_METRICS
    assert metric_names(expression)
    assert all(expression.count(left) == expression.count(right) for left, right in ("()", "{}", "[]"))


def test_every_metric_of_triton_is_one_it_exposes(triton_metrics: set[str]) -> None:
    asked = {name for _, expression in expressions() for name in metric_names(expression) if name.startswith("nv_")}

    assert asked - GPU_METRICS <= triton_metrics


def test_every_metric_of_the_event_service_is_watched() -> None:
    asked = {name for _, expression in expressions() for name in metric_names(expression)}

    assert set(list_names()) <= asked


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["alert"]) for rule in alerts()])
def test_every_alert_says_what_happened_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in SEVERITIES
    assert all(len(rule["annotations"][key]) > 15 for key in ("summary", "description", "runbook"))


def test_every_target_an_alert_sends_people_to_is_in_the_makefile() -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    runbooks = " ".join(rule["annotations"]["runbook"] for rule in alerts())

    assert set(re.findall(r"\bmake ([a-z-]+)", runbooks)) <= known


def test_alerts_and_dashboard_are_what_their_readers_expect() -> None:
    rule = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    found = dashboard()

    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert len({alert["alert"] for alert in alerts()}) == len(list(alerts()))
    assert found["uid"] and found["schemaVersion"] >= 39
    assert len({panel["id"] for panel in found["panels"]}) == len(found["panels"])
    assert {panel["datasource"]["uid"] for panel in found["panels"] if "datasource" in panel} == {"${datasource}"}


def test_no_two_panels_lie_on_each_other() -> None:
    places = [panel["gridPos"] for panel in dashboard()["panels"]]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_autoscaler_asks_for_the_metric_the_adapter_makes() -> None:
    adapter = yaml.safe_load((MONITORING / "prometheus-adapter.yaml").read_text())
    values = yaml.safe_load(Path(CHARTS / "triton" / "values.yaml").read_text())

    made = [rule["name"]["as"] for rule in adapter["rules"]["custom"]]
    assert values["autoscaling"]["metric"]["name"] in made
