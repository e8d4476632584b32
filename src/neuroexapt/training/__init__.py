"""Train: data, batches, recipes, the loop, and what it leaves behind."""

from neuroexapt.training.airbench import airbench
from neuroexapt.training.augment import Augment
from neuroexapt.training.batches import Batches, evaluation_batches, train_batches
from neuroexapt.training.data import DATASETS, load
from neuroexapt.training.flops import training_flops
from neuroexapt.training.history import EpochRecord, History
from neuroexapt.training.images import DataSplits, ImageSet
from neuroexapt.training.layout import takes_channels_last
from neuroexapt.training.loaders import first_batch
from neuroexapt.training.loop import EpochResult, Evaluation, Step, evaluate, train_epoch
from neuroexapt.training.models import MODELS, build_model
from neuroexapt.training.muon import Muon
from neuroexapt.training.outputs import check_outputs
from neuroexapt.training.recipe import (
    RECIPES,
    Recipe,
    build_criterion,
    build_optimizer,
    default_recipe,
    lr_factor,
    set_lr,
)
from neuroexapt.training.seed import seeded
from neuroexapt.training.views import Views, averaged_outputs
from neuroexapt.training.whitening import whiten_, whiten_first_

__all__ = [
    "DATASETS",
    "MODELS",
    "RECIPES",
    "Augment",
    "Batches",
    "DataSplits",
    "EpochRecord",
    "EpochResult",
    "Evaluation",
    "History",
    "ImageSet",
    "Muon",
    "Recipe",
    "Step",
    "Views",
    "airbench",
    "averaged_outputs",
    "build_criterion",
    "build_model",
    "build_optimizer",
    "check_outputs",
    "default_recipe",
    "evaluate",
    "evaluation_batches",
    "first_batch",
    "load",
    "lr_factor",
    "seeded",
    "set_lr",
    "takes_channels_last",
    "train_batches",
    "train_epoch",
    "training_flops",
    "whiten_",
    "whiten_first_",
]
