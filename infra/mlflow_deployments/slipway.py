"""`mlflow deployments … -t slipway`: the same calls, carried out by the flows' deployments on the Prefect server.

What MLflow loads for the target `slipway`, so it imports little: the rest comes with the first call. Where registry,
store and replicas are, the server's blocks say.
"""

from typing import TYPE_CHECKING, Any

from mlflow.deployments import BaseDeploymentClient

from infra.mlflow_deployments.errors import answering, refuse_existing, refuse_missing

if TYPE_CHECKING:
    import pandas as pd

    from blocks.environment import Environment

_HELP = """
The target slipway runs the flows' deployments on the Prefect server that PREFECT_API_URL names, and waits for them:
deploy-model for create and update, withdraw-model for delete. Each prints the links to its run and to its receipt.

    mlflow deployments create -t slipway --name mymodel -m models:/mymodel/1

Where the server has deployments of several names, say `local` and `kubernetes`, the target says which:
-t slipway:/kubernetes. Options, each as -C NAME=VALUE, are parameters of the flow, read as JSON where they are
some.
"""
_DEPLOY, _WITHDRAW = "deploy-model", "withdraw-model"


class SlipwayDeployments(BaseDeploymentClient):
    """Deployments by the flows of a Prefect server."""

    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: dict[str, Any] | None = None,
        endpoint: str | None = None,  # noqa: ARG002, MLflow's signature
    ) -> dict[str, Any]:
        """Release a model that is not served; returns its name and flavor, and where its run and its receipt are."""
        with answering():
            environment = _load_environment(name)
            if _exists(name, environment):
                raise refuse_existing(name)
            return {"name": name} | self._release(name, model_uri, flavor, config, environment)

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: dict[str, Any] | None = None,
        endpoint: str | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Release another version of a model that is served; returns its flavor, and where run and receipt are."""
        from blocks.errors import InvalidInput

        with answering():
            environment = _load_environment(name)
            if not _exists(name, environment):
                raise refuse_missing(name, "update")
            if not model_uri:
                raise InvalidInput(f"deployment '{name}': no model URI is given, expected -m models:/NAME/VERSION")
            return self._release(name, model_uri, flavor, config, environment)

    def delete_deployment(
        self,
        name: str,
        config: dict[str, Any] | None = None,
        endpoint: str | None = None,  # noqa: ARG002
    ) -> None:
        """Withdraw a model."""
        from infra.mlflow_deployments.runs import read_parameters, run_and_wait

        with answering():
            if not _exists(name, _load_environment(name)):
                raise refuse_missing(name, "delete")
            parameters = {"model_name": name, "force": True, **read_parameters(config or {})}
            run_and_wait(self.target_uri, _WITHDRAW, parameters)

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

        with answering():
            return predict(deployment_name or "", inputs, _load_environment(deployment_name).fleet)

    def _release(
        self, name: str, model_uri: str, flavor: str | None, config: dict[str, Any] | None, environment: "Environment"
    ) -> dict[str, Any]:
        from infra.mlflow_deployments.catalogue import find_live
        from infra.mlflow_deployments.registration import find_version
        from infra.mlflow_deployments.runs import read_parameters, run_and_wait

        version = find_version(name, model_uri, environment.registry).version
        parameters = {"model_name": name, "source": f"version:{version}", **read_parameters(config or {})}
        links = run_and_wait(self.target_uri, _DEPLOY, parameters)
        live = find_live(name, environment.repository)
        return {"flavor": flavor or (live.meta.flavor if live else None), **links}


def run_local(name: str, model_uri: str, flavor: str | None = None, config: dict[str, Any] | None = None) -> None:
    """Raise: on this machine, `make up` starts the servers, and this target is there, too."""
    raise NotImplementedError(
        f"run-local of {model_uri} as {name}: start the local stack (`make up`), and create the deployment there"
    )


def target_help() -> str:
    """Return what the target is and takes."""
    return _HELP


def _load_environment(name: str | None = None) -> "Environment":
    from blocks.environment import load_environment, require_prefect
    from infra.mlflow_deployments.names import check_name

    if name is not None:
        check_name(name)
    require_prefect()
    return load_environment()


def _exists(name: str, environment: "Environment") -> bool:
    return bool(environment.repository.store.list_keys(environment.repository.model_directory(name)))
