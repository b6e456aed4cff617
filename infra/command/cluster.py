"""`slipway cluster`: Triton on a cluster, installed, asked and removed."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from blocks.errors import InvalidInput
from infra.command.screen import console
from infra.kubernetes import releases
from infra.kubernetes.smoke import METRICS_PORT, Answered, Asked, find_replicas, name_replica, smoke_test

app = App(name="cluster", help="Triton on the cluster that KUBECONFIG names.")


@app.command
def deploy_triton(
    *values: Path, namespace: str = "triton", release: str = "triton", timeout_s: int = releases.TIMEOUT_S
) -> None:
    """Install or upgrade the chart `triton` and wait until every replica is ready.

    Parameters
    ----------
    values
        Values files, the later over the earlier; the chart's own values where there is none.
    namespace
        Namespace, made where it is missing.
    release
        Name of the release; `triton` keeps the addresses short.
    timeout_s
        Seconds until it has to be ready.
    """
    console.print(f"installing {release} in namespace {namespace}, waiting for at most {timeout_s} s")
    installed = releases.install("triton", release, namespace, values, timeout_s=timeout_s)
    console.print(f"revision {installed.revision} is ready\n\n{installed.notes.strip()}")


@app.command
def destroy_triton(*, namespace: str = "triton", release: str = "triton") -> None:
    """Remove the release; the namespace, the Secrets in it and the model repository stay.

    Parameters
    ----------
    namespace
        Its namespace.
    release
        Its name.
    """
    removed = releases.uninstall(release, namespace)
    console.print(f"{release} is gone from namespace {namespace}" if removed else f"{namespace} has no {release}")


@app.command(name="smoke-test")
def smoke(
    model: str,
    *addresses: str,
    namespace: str = "triton",
    release: str = "triton",
    server: str | None = None,
    http: Annotated[bool, Parameter(negative=())] = False,
    input: Path | None = None,  # noqa: A002
    shape: str | None = None,
    gpu: Annotated[bool, Parameter(negative=())] = False,
    metrics: tuple[str, ...] = (),
) -> None:
    """Ask every replica for one prediction, from a made-up input unless a request is given.

    Parameters
    ----------
    model
        Name of the model.
    addresses
        Addresses to ask instead of the release's pods: host:port (gRPC), grpc://host:port or http://host:port.
    namespace
        The release's namespace.
    release
        Its name.
    server
        One of the release's tritonServers; all where it is left out.
    http
        Ask the release's pods over HTTP, not gRPC.
    input
        A KServe request as JSON, as `slipway generate-input` writes it.
    shape
        Shape of the made-up input: 1,3,224,224, or JSON by input where there are several.
    gpu
        Fail unless a GPU computed the answer.
    metrics
        With addresses and --gpu: where each one's metrics are, host:port; by default its host's port 8002.
    """
    asked = Asked(model, input, shape)
    asked.check()
    replicas = (
        map(name_replica, addresses, _place_metrics(addresses, metrics, gpu))
        if addresses
        else find_replicas(release, namespace, server, over_http=http, on_gpu=gpu)
    )
    for replica in replicas:
        _show(smoke_test(asked, replica))


def _place_metrics(addresses: tuple[str, ...], metrics: tuple[str, ...], gpu: bool) -> list[str | None]:
    if not gpu:
        return [None] * len(addresses)
    if metrics and len(metrics) != len(addresses):
        raise InvalidInput(f"--metrics names {len(metrics)} addresses, expected one for each of {list(addresses)}")
    hosts = (address.rpartition("://")[2].rpartition(":")[0] for address in addresses)
    return [*metrics] or [f"{host}:{METRICS_PORT}" for host in hosts]


def _show(answer: Answered) -> None:
    gpu = f"  on {answer.gpu}" if answer.gpu else ""
    console.print(f"{answer.replica}  {answer.model} version {answer.version}  {answer.latency_ms:.1f} ms{gpu}")
