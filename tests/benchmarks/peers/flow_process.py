"""Run one flow in this process on the replicas that are named: what a worker starts, but for where the fleet is."""

import sys
from dataclasses import replace

from blocks.environment import load_environment, using
from blocks.fleet import TritonFleet


def call(flow: str, model_name: str, version: str, replicas: str) -> None:
    """Run it; an error ends the process with a status. What the others need is not imported."""
    environment = replace(load_environment(), fleet=TritonFleet(replicas=replicas.split(",")))
    with using(environment):
        if flow == "deploy":
            from flows.deployment import deploy_model

            deploy_model(model_name, source=f"version:{version}")
        elif flow == "rollback":
            from flows.rollback import rollback_model

            rollback_model(model_name)
        else:
            from flows.withdrawal import withdraw_model

            withdraw_model(model_name, force=True)


if __name__ == "__main__":
    call(*sys.argv[1:])
