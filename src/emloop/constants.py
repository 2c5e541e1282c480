"""Names and formats that run directories and their readers share."""

EL_LOG_FORMAT = "%(asctime)s.%(msecs)03d: %(levelname)-8s@%(module)-12s: %(message)s"
EL_LOG_DATE_FORMAT = "%Y-%m-%d %H:%M:%S"
EL_FULL_DATE_FORMAT = EL_LOG_DATE_FORMAT + ".%f"

EL_HOOKS_MODULE = "emloop.hooks"

EL_CONFIG_FILE = "config.yaml"
EL_CONFIG_SOURCE_FILE = "config.source.yaml"
EL_LOG_FILE = "train.log"
EL_CONFIG_BASES_DIR = "config.source"
EL_TRACE_FILE = "trace.yaml"
EL_CONFIG_COPY_FILE = "config.json"
EL_RUN_FILE = "run.json"
EL_STATUS_FILE = "status.json"
EL_ATTEMPTS_FILE = "attempts.jsonl"
EL_METRICS_FILE = "metrics.jsonl"
EL_STEPS_FILE = "steps.jsonl"
EL_ENVIRONMENT_FILE = "environment.txt"
EL_PATCH_FILE = "code.patch"
EL_DATA_FILE = "data.json"
EL_LOSSES_FILE = "losses.json"
EL_CHECKPOINTS_DIR = "checkpoints"

EL_DEFAULT_LOG_DIR = "./log"
EL_OUTPUT_DIR_FORMAT_VARIABLE = "EMLOOP_OUTPUT_DIR_FORMAT"
EL_HOME_VARIABLE = "EMLOOP_HOME"
EL_RUNS_VARIABLE = "EMLOOP_RUNS_FILE"
EL_DEFAULT_OUTPUT_DIR_FORMAT = "{model_name}_{random_name}"

EL_PREDICT_STREAM = "predict"
EL_DEFAULT_TRAIN_STREAM = "train"
EL_NA_STR = "N/A"

EL_BUFFER_SLEEP = 0.02
"""Kept for programs that use it; no thread of emloop sleeps."""

EL_LOG_ONLY = {"log_only": True}
"""``extra`` of log records that the screen shows in another form, or with ``-v``."""

EL_SHOWN = {"log_only": True, "shown": True}
"""``extra`` of log records that the screen shows anyway, in the same words."""

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CANNOT_RESUME = 3
EXIT_UNTRUSTED = 4
EXIT_STOPPED = 75
"""Exit codes of runs and commands; 75: stopped by a signal, can be resumed."""
