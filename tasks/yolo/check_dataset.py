"""Step 1 of the detector's flow, check-dataset: pictures and labels are sound, or the run ends here."""

from prefect import task

from slipway.learning.yolo.extra import load_ultralytics
from slipway.learning.yolo.parameters import Backgrounds, DatasetPath
from slipway.learning.yolo.results import CheckedDataset
from tasks.policies import PER_RUN


@task(name="check-dataset", task_run_name="check-dataset", cache_policy=PER_RUN)
def check_dataset(dataset_path: DatasetPath, backgrounds: Backgrounds = False) -> CheckedDataset:
    """Check every picture and every label line of a YOLO dataset.

    Raises `InvalidInput` with the first findings and how many there are of each kind: nothing is warned about.
    """
    from slipway.learning.yolo import dataset  # Pillow

    load_ultralytics()  # hours of checking would be for nothing without it
    return dataset.check_dataset(dataset_path, backgrounds=backgrounds)
