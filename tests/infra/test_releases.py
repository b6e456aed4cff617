"""Installing a chart: values from files, and errors that say what to do."""

import json
from pathlib import Path

import pytest

from infra.errors import ClusterError
from infra.kubernetes.kubectl import Rollout, read_rollout
from infra.kubernetes.releases import install, merge_values


def test_lays_later_files_over_earlier_ones_and_values_over_all(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("a: {x: 1, y: 1}\nlist: [1, 2]\n")
    second.write_text("a: {y: 2}\nlist: [3]\n")

    merged = merge_values([first, second], {"a": {"z": 3}})

    assert merged == {"a": {"x": 1, "y": 2, "z": 3}, "list": [3]}


def test_names_a_values_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"values file .*absent\.yaml cannot be read"):
        merge_values([tmp_path / "absent.yaml"])


def test_names_the_charts_there_are() -> None:
    with pytest.raises(ClusterError, match=r"no chart 'tritton'.*servers, slipway, triton"):
        install("tritton", "t", "t")


def test_says_which_setting_names_the_cluster_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = {"server": "https://127.0.0.1:1"}
    nowhere = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "nowhere", "cluster": cluster}],
        "contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": "me"}}],
        "users": [{"name": "me", "user": {}}],
        "current-context": "nowhere",
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(nowhere))
    monkeypatch.setenv("KUBECONFIG", str(path))

    with pytest.raises(ClusterError, match=r"release t of chart triton in namespace n: .*unreachable.*KUBECONFIG"):
        install("triton", "t", "n")


@pytest.mark.parametrize(
    ("generation", "status", "ready", "ended"),
    [
        (2, {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}, 3, True),
        # the status still speaks of what was wanted before
        (2, {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}, 0, False),
        (2, {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 2}, 2, False),
        (2, {"observedGeneration": 2, "replicas": 4, "updatedReplicas": 3, "availableReplicas": 4}, 3, False),
        (1, {}, 0, False),
    ],
)
def test_a_rollout_has_ended_when_all_that_is_wanted_is_available_and_nothing_older_is_left(
    generation: int, status: dict[str, int], ready: int, ended: bool
) -> None:
    deployment = {"metadata": {"name": "triton", "generation": generation}, "spec": {"replicas": 3}, "status": status}

    assert read_rollout(deployment) == Rollout("triton", 3, ready, ended)
