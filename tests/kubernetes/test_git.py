"""Where Git is the record, a run in a pod commits to a branch that a server in the cluster has."""

import json
from typing import Any

import pytest

from blocks.registry import ModelRegistry
from tests.kubernetes.cluster import Cluster, eventually
from tests.kubernetes.released import POD_S, SERVED
from tests.kubernetes.runs import completed

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(2700)]

PATH = "values.yaml"
VALUES = f"""servers:
  - name: {SERVED}
    env: {{MLFLOW_MODEL_VERSION: "99"}}  # the version
"""
SERVE = f"""set -e
cd /tmp
git init --quiet --bare --initial-branch main record.git
git init --quiet --initial-branch main work
printf '%s' "$VALUES" >work/{PATH}
git -C work add --all
git -C work -c user.name=somebody -c user.email=somebody@example.com commit --quiet --message first
git -C work push --quiet /tmp/record.git main
exec git daemon --reuseaddr --export-all --enable=receive-pack --base-path=/tmp --listen=0.0.0.0 /tmp
"""


@pytest.fixture
def git_server(cluster: Cluster) -> str:
    """The address of a repository, served by a pod."""
    labels = {"app": "git"}
    container = {
        "name": "git",
        "image": cluster.find_image("deployment"),
        "command": ["sh", "-c", SERVE],
        "env": [{"name": "VALUES", "value": VALUES}],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "git", "labels": labels},
        "spec": {"containers": [container], "volumes": [{"name": "tmp", "emptyDir": {}}]},
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "git"},
        "spec": {"selector": labels, "ports": [{"port": 9418}]},
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [pod, service]}))
    eventually("the git server", lambda: '"99"' in read_file(cluster), 120)
    return f"git://git.{cluster.namespace}/record.git"


def read_file(cluster: Cluster) -> str:
    """Return what the branch's file says now, or why that cannot be read yet."""
    return cluster.kubectl("exec", "git", "--", "git", "-C", "/tmp/record.git", "show", f"main:{PATH}", check=False)


@pytest.mark.exhaustive  # tests/flows/test_git_deployment.py commits from no pod
def test_a_version_is_committed_from_a_pod_and_proven_on_every_replica(
    cluster: Cluster, registry: ModelRegistry, git_server: str, trained: dict[str, Any]
) -> None:
    live = registry.get_aliases(SERVED)["live"]
    record = {"url": git_server, "path": PATH}

    run = cluster.run("deploy-by-git/kubernetes", model_name=SERVED, record=record, source=f"version:{live}")

    completed(run, POD_S)
    assert f'VERSION: "{live}"}}  # the version' in read_file(cluster)
