"""What Helm's engine has no call for: pods, what keeps them waiting, and a port of one of them on this machine."""

import json
import queue
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

from infra.errors import ClusterError

TIMEOUT_S = 30.0
_FORWARDED = re.compile(r"Forwarding from (127\.0\.0\.1:\d+)")
_FINE = {"ContainerCreating", "PodInitializing", "Completed"}


class Pod(NamedTuple):
    """A pod and what there is to say about it."""

    name: str
    phase: str
    ready: bool
    trouble: str  # what keeps it from being ready; empty where nothing but time does


def list_pods(namespace: str, selector: str) -> list[Pod]:
    """Return the pods that carry these labels, in the order of their names."""
    answer = _kubectl("get", "pods", "--namespace", namespace, "--selector", selector, "--output", "json")
    return sorted(_read_pod(item) for item in json.loads(answer)["items"])


class Rollout(NamedTuple):
    """How far a Deployment is with what was asked of it last."""

    name: str
    wanted: int
    ready: int  # of the newest template; 0 where the controller has not yet seen what is asked
    ended: bool  # all that is wanted is available, and nothing older is left


def list_rollouts(namespace: str, selector: str) -> list[Rollout]:
    """Return the Deployments that carry these labels, read from the store and not from a watcher's memory."""
    answer = _kubectl("get", "deployments", "--namespace", namespace, "--selector", selector, "--output", "json")
    return [read_rollout(item) for item in json.loads(answer)["items"]]


def read_rollout(item: dict[str, Any]) -> Rollout:
    """Read a Deployment's object; its status counts only where it speaks of the generation that is there."""
    status, wanted = item.get("status", {}), item["spec"].get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= item["metadata"]["generation"]
    ready = min(status.get("updatedReplicas", 0), status.get("availableReplicas", 0)) if seen else 0
    return Rollout(item["metadata"]["name"], wanted, ready, seen and ready == wanted == status.get("replicas", 0))


@contextmanager
def forward(namespace: str, pod: str, port: int) -> Iterator[str]:
    """Make a port of a pod answer at the yielded address while the block runs."""
    command = ["kubectl", "port-forward", "--namespace", namespace, f"pod/{pod}", f":{port}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    try:
        line = lines.get(timeout=TIMEOUT_S)
        found = _FORWARDED.search(line)
        if found is None:
            raise ClusterError(f"port {port} of pod {pod} in namespace {namespace}: {line.strip() or 'no connection'}")
        yield found[1]
    except queue.Empty:
        raise ClusterError(
            f"port {port} of pod {pod} in namespace {namespace}: not forwarded within {TIMEOUT_S:.0f} s; check that "
            "this machine may use pods/portforward, or give the replicas' addresses with --addresses"
        ) from None
    finally:
        process.kill()
        process.wait()


def _read(stream: IO[str] | None, lines: "queue.Queue[str]") -> None:
    for line in stream or ():
        lines.put(line)
    lines.put("")


def _kubectl(*arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603
            ["kubectl", *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as exc:
        raise ClusterError("kubectl is not installed; it is needed to look at pods and to reach them") from exc
    except subprocess.TimeoutExpired as exc:
        raise ClusterError(f"kubectl {arguments[0]}: no answer within {TIMEOUT_S:.0f} s; check KUBECONFIG") from exc
    if done.returncode:
        reason = done.stderr.strip().splitlines() or ["no reason given"]
        raise ClusterError(f"kubectl {arguments[0]}: {reason[-1]}; check KUBECONFIG and its current context")
    return done.stdout


def _read_pod(item: dict[str, Any]) -> Pod:
    status = item["status"]
    conditions = {found["type"]: found for found in status.get("conditions", [])}
    ready = conditions.get("Ready", {}).get("status") == "True"
    return Pod(item["metadata"]["name"], status.get("phase", "Unknown"), ready, "" if ready else _find_trouble(item))


def _find_trouble(item: dict[str, Any]) -> str:
    """Return the first reason given: it cannot be scheduled, pulled or started, it ended, or it does not get ready."""
    status = item["status"]
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            return str(condition.get("message", "not scheduled"))
    for container in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        waiting, ended = container["state"].get("waiting", {}), container["state"].get("terminated", {})
        before = container.get("lastState", {}).get("terminated", {})
        if waiting.get("reason") == "CrashLoopBackOff" or (before and not container["ready"]):
            return f"container {container['name']} ended with status {before.get('exitCode')} ({before.get('reason')})"
        if waiting and waiting.get("reason") not in _FINE:
            return f"{waiting.get('reason')}: {waiting.get('message', 'no message')}"
        if ended and ended.get("exitCode"):
            return f"container {container['name']} ended with status {ended['exitCode']} ({ended.get('reason')})"
        if "running" in container["state"] and not container["ready"]:
            return f"container {container['name']} runs and does not get ready"
    return ""
