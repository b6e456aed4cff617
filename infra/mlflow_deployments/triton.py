"""`mlflow deployments … -t triton`: the calls of NVIDIA's mlflow-triton-plugin, carried out as releases.

What MLflow loads for the target `triton`, so it imports little: the rest comes with the first call.
"""

from typing import TYPE_CHECKING, Any

from mlflow.deployments import BaseDeploymentClient

from infra.mlflow_deployments.errors import answering, refuse_existing, refuse_missing

if TYPE_CHECKING:
    import pandas as pd

    from blocks.environment import Environment

FLAVORS = ("triton", "onnx")
_HELP = """
The target triton releases a registered model to NVIDIA Triton: proven on one replica, committed to the model
repository, loaded and proven on every replica; where anything fails, what was served before still is.

    mlflow deployments create -t triton --flavor triton --name mymodel -m models:/mymodel/1
    mlflow deployments predict -t triton --name mymodel --input-path input.json --output-path output.json

Variables:
    TRITON_MODEL_REPO   what Triton's --model-repository names: a directory, s3://bucket/prefix or
                        s3://http://host:port/bucket/prefix
    TRITON_URL          the replicas, with commas between: host:port or http(s)://host:port for their HTTP ports,
                        grpc(s)://host:port or dns:///name:port for their gRPC ports; localhost:8000 where left out
    TRITON_MODEL_RECORDS  for a directory: where records and archive go; left out, beside it, as NAME.slipway
    SLIPWAY_TRITON_CONTROL_KEY  the key that the servers' model control asks for
    AWS_*               credentials, region and endpoint of the bucket
    MLFLOW_TRACKING_URI the MLflow server

Options, each as -C NAME=VALUE:
    version     the version's number in the model repository; the next free one where left out
    tolerance   how far answers may differ from known ones, relative to their scale
"""


class TritonDeployments(BaseDeploymentClient):
    """Deployments on the Triton replicas that `TRITON_URL` names."""

    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: dict[str, Any] | None = None,
        endpoint: str | None = None,  # noqa: ARG002, MLflow's signature
    ) -> dict[str, Any]:
        """Deploy a model under a new name; returns its name and flavor."""
        with answering():
            _check(name, flavor)
            environment = _load_environment()
            if _is_taken(name, environment):
                raise refuse_existing(name)
            return {"name": name, "flavor": _release(name, model_uri, flavor, config, environment, creates=True)}

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: dict[str, Any] | None = None,
        endpoint: str | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Deploy another model in the place of the one that is deployed, which stays loaded; returns its flavor."""
        from blocks.errors import InvalidInput

        with answering():
            _check(name, flavor)
            environment = _load_environment()
            if not _exists(name, environment):
                raise refuse_missing(name, "update")
            if not model_uri:
                raise InvalidInput(f"deployment '{name}': no model URI is given, expected -m models:/NAME/VERSION")
            return {"flavor": _release(name, model_uri, flavor, config, environment)}

    def delete_deployment(
        self,
        name: str,
        config: dict[str, Any] | None = None,  # noqa: ARG002
        endpoint: str | None = None,  # noqa: ARG002
    ) -> None:
        """Take a deployment out of service on every replica; its files are archived."""
        from slipway.releases.withdrawal import withdraw

        with answering():
            _check(name, None)
            environment = _load_environment()
            if not _exists(name, environment):
                raise refuse_missing(name, "delete")
            withdraw(name, environment, force=True, wait_s=60)

    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:  # noqa: ARG002
        """Return every deployment: its name, version, state, path, model URI and flavor."""
        from infra.mlflow_deployments.catalogue import list_entries

        with answering():
            return list_entries(_load_environment())

    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:  # noqa: ARG002
        """Return one deployment; `ValueError` where there is none."""
        for entry in self.list_deployments():
            if entry["name"] == name:
                return entry
        raise ValueError(f"Unable to get deployment with name {name}")

    def predict(
        self,
        deployment_name: str | None = None,
        inputs: Any = None,
        endpoint: str | None = None,  # noqa: ARG002
    ) -> "pd.DataFrame":
        """Return a replica's answer: a DataFrame with the column `outputs` and a row a tensor."""
        from infra.mlflow_deployments.prediction import predict
        from infra.mlflow_deployments.settings import make_fleet

        with answering():
            return predict(deployment_name or "", inputs, make_fleet())


def run_local(name: str, model_uri: str, flavor: str | None = None, config: dict[str, Any] | None = None) -> None:
    """Raise: a model is served by Triton, and a Triton on this machine is a target like any other."""
    raise NotImplementedError(
        f"run-local of {model_uri} as {name}: Triton serves it; start one on this machine (`make up` in slipway's "
        "folder, or tritonserver), point TRITON_URL at it, and create the deployment there"
    )


def target_help() -> str:
    """Return what the target is and takes."""
    return _HELP


def _load_environment() -> "Environment":
    from infra.mlflow_deployments.settings import make_environment

    return make_environment()


def _check(name: str, flavor: str | None) -> None:
    from blocks.errors import InvalidInput
    from infra.mlflow_deployments.names import check_name

    check_name(name)
    if flavor not in {None, *FLAVORS}:
        raise InvalidInput(f"{flavor} model flavor not supported by Triton, expected {' or '.join(FLAVORS)}")


def _exists(name: str, environment: "Environment") -> bool:
    """Tell whether a model of this name is where Triton reads."""
    repository = environment.repository
    return bool(repository.store.list_keys(repository.model_directory(name)))


def _is_taken(name: str, environment: "Environment") -> bool:
    """Tell whether a model of this name is deployed, or another's; what a killed process left of one is neither."""
    from slipway.releases.journal import read_open

    repository = environment.repository
    if read_open(repository, name) is not None:
        return False  # settled first, under the lock, and looked at once more
    return repository.read_config(name) is not None or repository.is_foreign(name)


def _release(
    name: str,
    model_uri: str,
    flavor: str | None,
    config: dict[str, Any] | None,
    environment: "Environment",
    *,
    creates: bool = False,
) -> str:
    from infra.mlflow_deployments.releasing import release_model

    return release_model(name, model_uri, flavor, config or {}, environment, creates=creates)
