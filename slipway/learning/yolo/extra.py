"""ultralytics, imported here alone, and late: its licence is the AGPL-3.0, so that it is none of our packages."""

import os
from typing import Any

from blocks.errors import InvalidInput, bounded

_REPORTERS = ("clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb", "sync")


def load_ultralytics() -> Any:
    """Return the module `ultralytics`; `InvalidInput` with what to install where it is not there.

    It installs nothing by itself, reports to nobody, and leaves tracking to slipway; its settings file stays as it is.
    """
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    try:
        from ultralytics.utils import SETTINGS

        # past the settings' own methods, which would write the file; before the modules that read them once
        dict.update(SETTINGS, dict.fromkeys(_REPORTERS, False))
        import ultralytics
    except ImportError as error:
        raise InvalidInput(
            f"train-yolo needs ultralytics, which cannot be imported ({bounded(error, 200)}); its licence is the "
            "AGPL-3.0, so that it is not installed with slipway: uv pip install ultralytics"
        ) from error
    return ultralytics
