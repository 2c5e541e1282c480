"""Helpers under the names that emloop 0.2 documents.

Most live elsewhere and are imported on first use; new code should import them from there.
"""

from __future__ import annotations

from emloop._support.lazy import keep_names, lazy_names

__all__ = [
    "CaughtInterrupts",
    "DisabledLogger",
    "DisabledPrint",
    "ReleasedSemaphore",
    "Timer",
    "confusion_matrix",
    "create_object",
    "find_class_module",
    "get_attribute",
    "get_class_module",
    "get_random_name",
    "list_submodules",
    "load_config",
    "load_yaml",
    "maybe_download_and_extract",
    "parse_arg",
    "parse_fully_qualified_name",
    "yaml_to_file",
    "yaml_to_str",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "confusion_matrix": ".confusion_matrix",
        "maybe_download_and_extract": ".download",
        "get_random_name": ".names",
        "Timer": ".profile",
        **dict.fromkeys(("load_config", "parse_arg"), ".config"),
        **dict.fromkeys(("CaughtInterrupts", "DisabledLogger", "DisabledPrint", "ReleasedSemaphore"), ".misc"),
        **dict.fromkeys(("load_yaml", "yaml_to_file", "yaml_to_str"), ".yaml"),
        **dict.fromkeys(
            (
                "_EMPTY_DICT",
                "create_object",
                "find_class_module",
                "get_attribute",
                "get_class_module",
                "list_submodules",
                "parse_fully_qualified_name",
            ),
            ".reflection",
        ),
        **{module: f".{module}" for module in ("config", "download", "misc", "names", "profile", "reflection", "yaml")},
    },
)
keep_names(__name__, {"confusion_matrix"})
