"""The built-in hooks, one idea per module; a configuration names them without a path.

``__all__`` is where unqualified names are looked up. Nothing is imported before it is used.
"""

from emloop._support.lazy import lazy_names

_MODULES = {
    "AbstractHook": "abstract_hook",
    "AccumulateVariables": "accumulate_variables",
    "Benchmark": "benchmark",
    "Check": "check",
    "ClassificationMetrics": "classification_metrics",
    "ComputeStats": "compute_stats",
    "DecayLR": "learning_rate",
    "DecayLROnPlateau": "learning_rate",
    "EveryNEpoch": "every_n_epoch",
    "Flatten": "flatten",
    "InitLR": "learning_rate",
    "LogDir": "log_dir",
    "LogLR": "learning_rate",
    "LogProfile": "log_profile",
    "LogVariables": "log_variables",
    "LogitsToCsv": "logits_to_csv",
    "OnPlateau": "on_plateau",
    "PlotLines": "plot_lines",
    "PredictionsToCsv": "predictions_to_csv",
    "SaveBest": "save",
    "SaveConfusionMatrix": "save_cm",
    "SaveEvery": "save",
    "SaveFile": "save_file",
    "SaveLatest": "save",
    "SaveMasks": "save_masks",
    "SequenceToCsv": "sequence_to_csv",
    "ShowProgress": "show_progress",
    "StopAfter": "stop_after",
    "StopOnNaN": "stop_on_nan",
    "StopOnPlateau": "stop_on_plateau",
    "TrainingTerminated": "abstract_hook",
    "TrainingTrace": "training_trace",
    "TrainingTraceKeys": "training_trace",
    "WriteCSV": "write_csv",
    "WriteTensorBoard": "write_tensorboard",
}

__all__ = sorted(_MODULES)  # noqa: PLE0605  (computed, so that a name cannot be missing from it)

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        **{name: f".{module}" for name, module in _MODULES.items()},
        **{module: f".{module}" for module in _MODULES.values()},
    },
)
