"""The command line: one lazily imported module per command."""

from emloop._support.lazy import keep_names, lazy_names

__all__ = [
    "evaluate",
    "fallback",
    "find_config",
    "get_emloop_arg_parser",
    "grid_search",
    "invoke_dataset_method",
    "list_train_dirs",
    "prune_train_dirs",
    "resume",
    "train",
    "validate_config",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        **{name: f".{name}" for name in ("args", "dataset", "eval_fn", "ls", "prune", "resume_fn", "train_fn", "util")},
        **dict.fromkeys(("_build_grid_search_commands", "grid_search"), ".grid_search"),
        **dict.fromkeys(("fallback", "find_config", "validate_config"), ".util"),
        "evaluate": ".eval_fn",
        "get_emloop_arg_parser": ".args",
        "invoke_dataset_method": ".dataset",
        "list_train_dirs": ".ls",
        "prune_train_dirs": ".prune",
        "resume": ".resume_fn",
        "train": ".train_fn",
    },
)
keep_names(__name__, {"grid_search"})
