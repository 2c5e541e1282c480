"""emloop: one YAML file becomes a training run that survives anything.

The names below are imported when they are first used, so ``import emloop`` loads neither NumPy nor any framework.
"""

from emloop._support.lazy import lazy_names

__version__ = "1.0.0.dev0"

__all__ = [
    "AbstractDataset",
    "AbstractHook",
    "AbstractModel",
    "BaseDataset",
    "Batch",
    "EmloopTraining",
    "EpochData",
    "MainLoop",
    "Stream",
    "TimeProfile",
    "create_dataset",
    "create_emloop_training",
    "create_hooks",
    "create_main_loop",
    "create_model",
    "create_output_dir",
    "delete_output_dir",
    "load_yaml",
    "train",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        **dict.fromkeys(("AbstractDataset", "AbstractHook", "AbstractModel"), "emloop._contracts"),
        "BaseDataset": ".datasets",
        **dict.fromkeys(("Batch", "EpochData", "Stream", "TimeProfile"), ".types"),
        "MainLoop": ".main_loop",
        **dict.fromkeys(
            (
                "EmloopTraining",
                "create_dataset",
                "create_emloop_training",
                "create_hooks",
                "create_main_loop",
                "create_model",
                "create_output_dir",
                "delete_output_dir",
            ),
            ".api",
        ),
        "load_yaml": ".utils",
        "train": ".cli",
        **{
            module: f".{module}"
            for module in ("api", "cli", "constants", "datasets", "errors", "hooks", "main_loop", "models", "types")
        },
        "utils": ".utils",
    },
)
