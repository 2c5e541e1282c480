"""emloop: one YAML file becomes a training run that survives anything.

Names are imported on first use, so ``import emloop`` loads neither NumPy nor any framework.
"""

from emloop._support.lazy import lazy_names

TYPE_CHECKING = False  # what typing says, without the cost of importing it
if TYPE_CHECKING:  # for type checkers, which cannot follow lazy names
    from emloop._contracts import AbstractDataset, AbstractHook, AbstractModel
    from emloop._support.trust import untrusted
    from emloop.api import (
        EmloopTraining,
        create_dataset,
        create_emloop_training,
        create_hooks,
        create_main_loop,
        create_model,
        create_output_dir,
        delete_output_dir,
    )
    from emloop.cli.train_fn import train
    from emloop.datasets.base_dataset import BaseDataset
    from emloop.main_loop import MainLoop
    from emloop.predictor import Predictor, load
    from emloop.types import Batch, EpochData, Stream, TimeProfile
    from emloop.utils.yaml import load_yaml

__version__ = "1.0.0.dev0"

__all__ = [
    "AbstractDataset",
    "AbstractHook",
    "AbstractModel",
    "BaseDataset",
    "Batch",
    "DownloadableDataset",
    "EmloopTraining",
    "EpochData",
    "MainLoop",
    "Predictor",
    "Stream",
    "TimeProfile",
    "create_dataset",
    "create_emloop_training",
    "create_hooks",
    "create_main_loop",
    "create_model",
    "create_output_dir",
    "delete_output_dir",
    "load",
    "load_yaml",
    "train",
    "untrusted",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        **dict.fromkeys(__all__, ".api"),  # unless named below
        **dict.fromkeys(("AbstractDataset", "AbstractHook", "AbstractModel"), "emloop._contracts"),
        **dict.fromkeys(("BaseDataset", "DownloadableDataset"), ".datasets"),
        **dict.fromkeys(("Batch", "EpochData", "Stream", "TimeProfile"), ".types"),
        "MainLoop": ".main_loop",
        **dict.fromkeys(("Predictor", "load"), ".predictor"),
        "load_yaml": ".utils",
        "train": ".cli",
        "untrusted": "emloop._support.trust",
        **{
            module: f".{module}"
            for module in (
                "api",
                "cli",
                "constants",
                "datasets",
                "errors",
                "hooks",
                "main_loop",
                "models",
                "ranks",
                "seeding",
                "types",
            )
        },
        "utils": ".utils",
    },
)
