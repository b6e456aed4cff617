"""What the worker's service account may do, asked with its own token."""

import json
from typing import Any

import pytest

from tests.kubernetes.cluster import Cluster

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(2700)]


ALLOWED = {("jobs.batch", verb) for verb in ("create", "delete", "get", "list", "watch")} | {
    ("pods", "list"),
    ("pods", "watch"),
    ("pods/log", "get"),
}
RESOURCES = (
    "jobs.batch",
    "pods",
    "pods/log",
    "pods/exec",
    "secrets",
    "configmaps",
    "deployments.apps",
    "serviceaccounts",
    "roles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "nodes",
    "namespaces",
)
VERBS = ("create", "delete", "get", "list", "watch", "patch", "update")


def test_the_workers_account_can_do_what_it_needs_and_nothing_more(cluster: Cluster, tmp_path: Any) -> None:
    (worker, *_) = cluster.objects("pods", "app.kubernetes.io/component=worker")
    path = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    token = cluster.kubectl("exec", worker["metadata"]["name"], "--", "cat", path).strip()
    own = tmp_path / "worker.kubeconfig"
    own.write_text(with_token(cluster, token))

    def can(verb: str, resource: str, namespace: str) -> bool:
        kind, _, sub = resource.partition("/")
        parts = [verb, kind, *([f"--subresource={sub}"] if sub else []), "--namespace", namespace]
        return cluster.kubectl("--kubeconfig", str(own), "auth", "can-i", *parts, check=False).startswith("yes")

    granted = {(r, v) for r in RESOURCES for v in VERBS if can(v, r, cluster.namespace)}
    assert granted == ALLOWED
    assert not any(can(verb, resource, "default") for resource, verb in ALLOWED)
    assert "Forbidden" in cluster.kubectl("--kubeconfig", str(own), "get", "secret", "slipway", check=False)
    assert "pod/" in cluster.kubectl("--kubeconfig", str(own), "get", "pods", "-o", "name")


def with_token(cluster: Cluster, token: str) -> str:
    """Return the kubeconfig in use with a token as its only credential."""
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    return json.dumps(config)
