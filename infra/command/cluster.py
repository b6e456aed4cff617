"""`slipway cluster`: Triton on a cluster, installed, asked and removed."""

from pathlib import Path

from cyclopts import App

from infra.command.screen import console
from infra.kubernetes import releases
from infra.kubernetes.smoke import Answered, smoke_test, smoke_test_release

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
def smoke(model: str, *addresses: str, namespace: str = "triton", release: str = "triton") -> None:
    """Ask every replica for one prediction from a made-up input.

    Parameters
    ----------
    model
        Name of the model.
    addresses
        gRPC addresses host:port to ask instead of the release's pods.
    namespace
        The release's namespace.
    release
        Its name.
    """
    answers = (
        (smoke_test(model, address) for address in addresses)
        if addresses
        else smoke_test_release(model, release, namespace)
    )
    for answer in answers:
        _show(answer)


def _show(answer: Answered) -> None:
    console.print(f"{answer.replica}  {answer.model} version {answer.version}  {answer.latency_ms:.1f} ms")
