"""A run in MLflow that is recorded when all of it is known: parameters, figures, tables and pictures."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from blocks.registry import ModelRegistry

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def record_run(
    registry: ModelRegistry,
    experiment: str,
    name: str,
    *,
    tags: Mapping[str, str],
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    texts: Mapping[str, str],
    figures: Mapping[str, "Figure"],
) -> str:
    """Return the id of a new run in an experiment, which is created if need be.

    Args:
        registry: the MLflow it is recorded in.
        experiment: the experiment's name.
        name: the run's name.
        tags: its tags.
        params: its parameters.
        metrics: its figures.
        texts: the contents of its files, by name.
        figures: its pictures, by name.
    """
    client = registry.connect()
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # what a command prints is for others to read
    with registry.reaching(f"a run in experiment '{experiment}'"):
        found = client.get_experiment_by_name(experiment)
        number = found.experiment_id if found else client.create_experiment(experiment)
        run_id = str(client.create_run(number, run_name=name, tags=dict(tags)).info.run_id)
        for key, value in params.items():
            client.log_param(run_id, key, value)
        for key, figure in metrics.items():
            client.log_metric(run_id, key, figure)
        for file, text in texts.items():
            client.log_text(run_id, text, file)
        for file, picture in figures.items():
            client.log_figure(run_id, picture, file)
        client.set_terminated(run_id)
    return run_id
