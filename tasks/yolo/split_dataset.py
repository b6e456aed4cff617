"""Step 2 of the detector's flow, split-dataset: 0.7 to learn from, 0.2 to choose by, 0.1 to judge by."""

from prefect import task

from slipway.learning.parameters import Seed
from slipway.learning.yolo.results import CheckedDataset, DatasetSplit
from tasks.policies import PER_RUN


@task(name="split-dataset", task_run_name="split-dataset", cache_policy=PER_RUN)
def split_dataset(dataset: CheckedDataset, seed: Seed) -> DatasetSplit:
    """Deal the pictures of a checked dataset out, the same for the same names and seed; nothing is copied."""
    from slipway.learning.yolo import splitting  # Pillow

    return splitting.split_dataset(dataset, seed)
