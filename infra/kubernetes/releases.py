"""Installs and removes the charts with Helm's own engine, and says in one message why a release did not come up."""

import copy
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from infra.errors import ClusterError
from infra.kubernetes.kubectl import Pod, Rollout, list_pods, list_rollouts

if TYPE_CHECKING:
    from helm_python import Config

T = TypeVar("T")

CHARTS = Path(__file__).resolve().parents[1] / "charts"
TIMEOUT_S = 600
_LABEL = "app.kubernetes.io/instance"
_MOST_PODS_NAMED = 3
_LEAST_WAIT_S = 5.0


class Release(BaseModel):
    """A chart, installed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    namespace: str
    revision: int = Field(description="Counts the installs and upgrades of this release.")
    notes: str = ""


def install(
    chart: str,
    release: str,
    namespace: str,
    values_files: Iterable[Path] = (),
    values: Mapping[str, Any] | None = None,
    timeout_s: int = TIMEOUT_S,
) -> Release:
    """Install or upgrade a chart and return when everything of it is ready and its hooks have ended.

    Args:
        chart: name of a folder in infra/charts.
        values_files: the later ones win, as with `helm -f`.
        values: win over all files.
        timeout_s: for the whole, hooks included.

    Raises `ClusterError` where the values are wrong, the cluster does not answer or something does not get ready; what
    is ready then stays.
    """
    path = CHARTS / chart
    if not (path / "Chart.yaml").is_file():
        known = sorted(found.parent.name for found in CHARTS.glob("*/Chart.yaml"))
        raise ClusterError(f"there is no chart {chart!r} in {CHARTS}; there are {', '.join(known)}")
    merged = merge_values(values_files, values)

    def act(helm: "Config") -> dict[str, Any]:
        if _exists(helm, release):
            return helm.upgrade(str(path), release, merged, timeout=timeout_s, wait="watcher", max_history=10)
        return helm.install(
            str(path), release, merged, timeout=timeout_s, wait="watcher", create_namespace=True, namespace=namespace
        )

    end = time.monotonic() + timeout_s
    installed = Release.model_validate(_with_helm(f"release {release} of chart {chart}", release, namespace, act))
    _wait_for_rollouts(release, namespace, end - time.monotonic())
    return installed


def _wait_for_rollouts(release: str, namespace: str, within_s: float) -> None:
    """Wait for every Deployment: Helm's watcher may have read one as it was before the upgrade, and found it ready."""
    waiting = Retrying(
        retry=retry_if_result(bool), wait=wait_fixed(1), stop=stop_after_delay(max(within_s, _LEAST_WAIT_S))
    )
    try:
        waiting(_list_unfinished, release, namespace)
    except RetryError as exc:
        named = "; ".join(f"{r.name} has {r.ready} of {r.wanted} replicas ready" for r in exc.last_attempt.result())
        raise ClusterError(
            f"release {release} in namespace {namespace}: {_explain(named, release, namespace)}"
        ) from None


def _list_unfinished(release: str, namespace: str) -> list[Rollout]:
    return [found for found in list_rollouts(namespace, f"{_LABEL}={release}") if not found.ended]


def uninstall(release: str, namespace: str, timeout_s: int = TIMEOUT_S) -> bool:
    """Remove a release and wait until its objects are gone; return whether there was one."""

    def act(helm: "Config") -> bool:
        there = _exists(helm, release)
        if there:
            helm.uninstall(release, timeout=timeout_s, wait="watcher")
        return there

    return _with_helm(f"release {release}", release, namespace, act)


def merge_values(files: Iterable[Path], values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the values of all files, the later over the earlier, and the given ones over all; lists are replaced."""
    merged: dict[str, Any] = {}
    for path in files:
        try:
            found = yaml.safe_load(path.read_text())
        except (OSError, yaml.YAMLError) as exc:
            raise ClusterError(f"values file {path} cannot be read ({exc}); see infra/charts/*/values*.yaml") from exc
        if not isinstance(found or {}, dict):
            raise ClusterError(f"values file {path} holds no keys; see infra/charts/*/values*.yaml for examples")
        _overlay(merged, found or {})
    _overlay(merged, values or {})
    return merged


def _overlay(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(below.get(key), dict):
            _overlay(below[key], value)
        else:
            below[key] = copy.deepcopy(value)


def _exists(helm: "Config", release: str) -> bool:
    from helm_python import HelmNotFoundError

    try:
        helm.status(release)
    except HelmNotFoundError:
        return False
    return True


def _with_helm(subject: str, release: str, namespace: str, act: Callable[["Config"], T]) -> T:
    try:
        import helm_python as helm  # has no build but for Linux on x86-64
    except ImportError as exc:
        raise ClusterError(f"Helm's engine has no build for this machine; use helm itself on {CHARTS}") from exc
    where = f"{subject} in namespace {namespace}"
    try:
        with helm.Config(namespace=namespace, kubeconfig_path=_find_kubeconfig()) as config:
            return act(config)
    except helm.HelmKubeError as exc:
        raise ClusterError(f"{where}: {exc}; check KUBECONFIG and its current context") from exc
    except helm.HelmValuesError as exc:
        raise ClusterError(f"{where}: {_join_lines(str(exc))}; see the chart's values.yaml") from exc
    except helm.HelmError as exc:
        raise ClusterError(f"{where}: {_explain(str(exc), release, namespace)}") from exc


def _find_kubeconfig() -> str | None:
    """Return the one file KUBECONFIG names; the engine itself sees only what the variable was when it was loaded."""
    named = os.environ.get("KUBECONFIG", "")
    return named if named and os.pathsep not in named else None


def _join_lines(message: str) -> str:
    lines = [line.strip(" -") for line in message.splitlines() if line.strip(" -")]
    return " ".join(lines)


def _explain(message: str, release: str, namespace: str) -> str:
    if "another operation" in message:
        return f"an earlier install was cut off ({message}); remove the release and install it again"
    if "don't meet the specifications of the schema" in message:
        return f"{_join_lines(message)}; see the chart's values.yaml"
    waiting = [pod for pod in _list_pods(release, namespace) if pod.trouble]
    if not waiting:
        return _join_lines(message)
    named = "; ".join(f"pod {pod.name}: {pod.trouble}" for pod in waiting[:_MOST_PODS_NAMED])
    return f"{_join_lines(message)}; {named}; see kubectl -n {namespace} logs or describe pod {waiting[0].name}"


def _list_pods(release: str, namespace: str) -> list[Pod]:
    try:
        return list_pods(namespace, f"{_LABEL}={release}")
    except ClusterError:
        return []  # the reason Helm gave is told in any case
