"""What a training's MLflow run says of it before it begins: how, on what and where it is trained."""

import torch

from blocks.cores import count_cores
from blocks.labels import DATASET_PARAM, INPUT_SHAPE_PARAM, VALIDATION_DIGEST_PARAM
from slipway.learning.datasets import ImageDataset
from slipway.learning.machine import Machine
from slipway.learning.parameters import TrainingSettings
from slipway.learning.planning import Plan
from slipway.learning.precision import FULL
from slipway.learning.resnet import ARCHITECTURE

BATCH_SIZE_PARAM = "training.batch_size"


def make_tags(settings: TrainingSettings) -> dict[str, str]:
    """Return the tags by which a training is found."""
    pretrained = settings.pretrained is not None
    approach = "from-scratch" if not pretrained else "transfer-learning" if settings.frozen_layers else "fine-tuning"
    return {
        "approach": approach,
        "pretrained": str(pretrained).lower(),
        "architecture": ARCHITECTURE,
        "dataset": settings.dataset,
    }


def make_params(settings: TrainingSettings, plan: Plan, images: ImageDataset, machine: Machine) -> dict[str, object]:
    """Return every parameter of a training, those that nobody named included."""
    recipe = plan.recipe
    num_workers = count_cores() if settings.num_workers is None else settings.num_workers
    return {
        DATASET_PARAM: settings.dataset,
        INPUT_SHAPE_PARAM: ",".join(str(size) for size in recipe.input_shape),
        "data.classes": ",".join(images.classes)[:500],
        "data.num_classes": len(images.classes),
        "data.training_images": len(images.train),
        "data.validation_images": len(images.validation),
        VALIDATION_DIGEST_PARAM: images.validation_digest,
        "training.recipe": settings.recipe,
        "training.epochs": recipe.epochs,
        "training.learning_rate": recipe.learning_rate,
        BATCH_SIZE_PARAM: plan.batch_size,
        "training.num_workers": num_workers,
        "training.threads": torch.get_num_threads(),
        "training.seed": settings.seed,
        "training.optimizer": recipe.optimizer,
        "training.label_smoothing": recipe.label_smoothing,
        "training.averaged_epochs": recipe.averaged_epochs,
        "training.first_size": recipe.first_size,
        "training.frozen_layers": settings.frozen_layers,
        "training.pretrained": settings.pretrained or "none",
        "training.precision": str(plan.precision).removeprefix("torch."),
        "training.compiled": plan.compiled,
        "training.deterministic": settings.deterministic,
        # as the reference systems call them
        "model.architecture": ARCHITECTURE,
        "model.pretrained": settings.pretrained is not None,
        "model.num_classes": len(images.classes),
        "data.num_workers": num_workers,
        "data.batch_size": plan.batch_size,
        "training.mixed_precision": plan.precision != FULL,
        "device": machine.name,
        "pytorch_version": torch.__version__,
        "cuda_version": torch.version.cuda if machine.device == "cuda" else "none",
    }
