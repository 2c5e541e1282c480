"""Every known defect of emloop 0.2 is gone: the tests that show it, or the reason why it cannot come back.

The numbers are those of the list of defects that was made from the reference's behaviour.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

DEFECTS: dict[int, tuple[str, tuple[str, ...] | str]] = {
    # -- packaging and names
    1: (
        "load_yaml is announced and missing",
        ("architecture/test_modules.py::test_everything_public_comes_with_a_star_import",),
    ),
    2: ("__module__ is overwritten", ("compat/test_names.py::test_core_classes_know_where_they_are_from",)),
    3: (
        "a dependency is not declared",
        ("architecture/test_packaging.py::test_every_package_that_is_imported_is_declared",),
    ),
    4: (
        "importing the package imports pandas and matplotlib and sets a backend",
        (
            "architecture/test_light_import.py::test_importing_emloop_loads_only_the_standard_library",
            "hooks/test_save_cm.py::test_no_window_and_no_backend_is_touched",
        ),
    ),
    9: ("the documentation shows what does not exist", ("docs/test_docs.py::test_a_page_does_what_it_says",)),
    41: (
        "validation is done by assert",
        ("architecture/test_modules.py::test_an_expectation_is_never_asserted",),
    ),
    42: ("functions of ruamel.yaml that are gone", "YAML is read by PyYAML alone"),
    43: (
        "functions of NumPy and matplotlib that are gone",
        (
            "hooks/test_plot_lines.py::test_masked_positions_are_left_out",
            "hooks/test_save_cm.py::test_every_stream_gets_a_file",
        ),
    ),
    44: ("a string is compared by identity", "the compiler warns about that, and the tests take warnings for errors"),
    45: ("setup.py, old Pythons", ("architecture/test_packaging.py::test_the_project_is_described_in_one_place",)),
    71: (
        "third parties cannot register short names",
        ("end_to_end/test_plugins.py::test_short_names_come_from_plugins_too",),
    ),
    82: (
        "everything is logged by the root logger, libraries install handlers",
        (
            "architecture/test_modules.py::test_nobody_uses_the_root_logger",
            "architecture/test_modules.py::test_only_the_command_line_and_a_run_s_own_log_attach_handlers",
        ),
    ),
    # -- configuration
    5: (
        "values on the command line construct Python objects",
        (
            "_config/test_overrides.py::test_an_argument_that_cannot_be_read_is_shown",
            "end_to_end/test_bad_input.py::test_a_wrong_config_is_one_clear_message",
        ),
    ),
    6: (
        "an evaluation of a missing section is a KeyError",
        (
            "_config/test_evaluation.py::test_a_section_that_is_not_there_is_created",
            "_config/test_evaluation.py::test_an_empty_section_is_none_at_all",
        ),
    ),
    7: (
        "arguments override what emloop gives to the constructor",
        ("compat/test_objects_from_config.py::test_a_section_cannot_override_what_a_model_is_given",),
    ),
    8: (
        "hooks: null crashes, a mapping loses its arguments",
        (
            "compat/test_objects_from_config.py::test_there_may_be_no_hooks",
            "compat/test_objects_from_config.py::test_a_mapping_is_no_list_of_hooks",
        ),
    ),
    22: (
        "an unknown argument of a hook only warns",
        ("hooks/test_accumulate_variables.py::test_unknown_arguments_are_refused_with_the_likely_name",),
    ),
    76: (
        "nothing is recorded of command line, versions and seed",
        ("_run_dir/test_run.py::test_a_new_run_holds_all_that_describes_it",),
    ),
    77: (
        "--output_dir writes over what is there and escapes the root",
        (
            "_run_dir/test_layout.py::test_an_existing_directory_is_taken_only_if_it_is_empty",
            "_run_dir/test_layout.py::test_a_given_name_cannot_leave_the_root",
        ),
    ),
    78: (
        "a mistyped option becomes an override, or is ignored",
        ("end_to_end/test_bad_input.py::test_a_wrong_command_is_one_clear_message",),
    ),
    # -- run directory
    10: ("suffixes of names accumulate", ("_run_dir/test_layout.py::test_taken_names_are_numbered",)),
    11: ("a run goes on logging after its end", ("_run_dir/test_run.py::test_a_run_does_not_log_after_its_end",)),
    12: ("the trace is rewritten in place", ("_run_dir/test_trace.py::test_a_reader_never_sees_a_part",)),
    54: (
        "why a run ended, and whether it lives, is not known",
        (
            "_run_dir/test_trace.py::test_only_a_held_lock_means_running",
            "_run_dir/test_run.py::test_every_attempt_is_on_record",
        ),
    ),
    75: (
        "the trace is an ordered map of moments without an offset",
        (
            "_run_dir/test_trace.py::test_moments_are_local_and_naive_and_know_their_offset",
            "_run_dir/test_trace.py::test_traces_of_emloop_02_are_read",
        ),
    ),
    # -- streams
    13: (
        "an empty stream with a buffer and a fixed epoch hangs",
        ("_streams/test_stream_epochs.py::test_a_pass_without_batches_ends_an_epoch_of_fixed_size",),
    ),
    14: (
        "the error of a stream that is read ahead is lost",
        (
            "_streams/test_read_ahead.py::test_every_batch_before_a_failure_is_handed_out",
            "end_to_end/test_bad_input.py::test_an_error_in_a_stream_shows_the_users_line",
        ),
    ),
    15: (
        "a stream that failed ends the epoch early, silently",
        ("_streams/test_read_ahead.py::test_a_failure_that_happened_long_ago_does_not_shorten_the_epoch",),
    ),
    17: (
        "a text is taken for a list of streams",
        ("main_loop/test_checks.py::test_impossible_arguments_are_refused",),
    ),
    18: (
        "a stream that is named twice is not refused",
        ("main_loop/test_loop.py::test_an_epoch_refuses_a_stream_that_is_given_twice",),
    ),
    19: (
        "unnamed streams have two names",
        ("compat/test_objects_from_config.py::test_an_epoch_is_run_over_lists_names_and_wrappers",),
    ),
    52: (
        "a stream that blocks cannot be stopped; only the main thread can train",
        (
            "_streams/test_read_ahead.py::test_a_consumer_that_waits_can_be_interrupted",
            "compat/test_interrupts.py::test_it_does_no_harm_in_another_thread",
        ),
    ),
    56: (
        "the zeroth epoch eats the first chunk of a fixed epoch",
        ("main_loop/test_loop.py::test_the_zeroth_epoch_changes_no_training_batch",),
    ),
    57: (
        "a run that ended leaves its streams midway",
        ("main_loop/test_loop.py::test_evaluations_always_start_at_the_beginning_of_a_stream",),
    ),
    59: (
        "a missing stream is found after the training epoch",
        ("main_loop/test_loop.py::test_all_streams_are_looked_up_before_the_first_batch",),
    ),
    80: (
        "stream_info takes any attribute for a stream and hides errors",
        (
            "datasets/test_stream_info.py::test_every_stream_is_described_by_its_first_batch",
            "datasets/test_stream_info.py::test_failing_streams_are_named_after_all_were_looked_at",
        ),
    ),
    # -- main loop
    20: (
        "entering a main loop gives None",
        ("main_loop/test_loop.py::test_the_loop_is_a_context_manager_that_gives_itself",),
    ),
    21: (
        "an error in before_training leaves handlers behind",
        ("compat/test_interrupts.py::test_a_hook_that_fails_at_the_beginning_leaves_no_handler_behind",),
    ),
    28: (
        "resume starts everything anew",
        (
            "end_to_end/test_train_and_resume.py::test_killed_again_and_again_the_run_ends_as_if_untouched",
            "hooks/test_save.py::test_a_resumed_run_saves_what_an_uninterrupted_one_does",
        ),
    ),
    34: (
        "an interrupt ends one of several evaluated streams",
        ("main_loop/test_loop.py::test_evaluation_runs_all_its_streams_as_one_epoch",),
    ),
    49: (
        "the number of an empty batch is wrong",
        ("compat/test_messages.py::test_empty_batches_are_counted",),
    ),
    50: (
        "sources of different lengths pass",
        ("main_loop/test_checks.py::test_sources_of_different_lengths_are_an_error",),
    ),
    51: (
        "the second signal has three exit codes",
        (
            "compat/test_interrupts.py::test_the_second_signal_ends_the_process_at_once",
            "end_to_end/test_train_and_resume.py::test_the_second_signal_stops_at_once",
        ),
    ),
    53: (
        "an error in after_training keeps the other hooks from theirs",
        ("main_loop/test_loop.py::test_an_error_in_after_training_does_not_keep_the_other_hooks_from_theirs",),
    ),
    55: (
        "epochs_count is compared by equality",
        ("main_loop/test_loop.py::test_a_lowered_epochs_count_that_is_passed_already_ends_the_training_at_once",),
    ),
    58: (
        "unused sources are warned about once in all",
        ("main_loop/test_checks.py::test_unused_sources_are_warned_about_once_per_stream",),
    ),
    81: (
        "hooks from a generator never hear of anything",
        ("main_loop/test_loop.py::test_hooks_may_come_from_a_generator",),
    ),
    # -- hooks
    23: (
        "ComputeStats ignores the aggregations of a mapping",
        ("hooks/test_compute_stats.py::test_variables_may_be_written_in_several_ways",),
    ),
    24: (
        "LogVariables fails over texts",
        ("hooks/test_log_variables.py::test_all_numbers_and_texts_are_logged_stream_by_stream",),
    ),
    25: (
        "CSV files repeat all epochs and lie in the working directory",
        (
            "hooks/_text/test_records.py::test_a_file_has_the_epoch_that_wrote_it_and_nothing_else",
            "hooks/_text/test_records.py::test_a_relative_file_belongs_to_the_run",
        ),
    ),
    26: (
        "PlotLines does not know the first epoch, nor numbers as ids",
        (
            "hooks/test_plot_lines.py::test_in_a_run_figures_stand_under_their_epoch",
            "hooks/test_plot_lines.py::test_ids_may_be_numbers_and_paths",
        ),
    ),
    27: (
        "a first NaN is the best for ever",
        ("hooks/test_save.py::test_save_best_saves_what_is_better_than_all_before",),
    ),
    29: ("figures are never closed", ("hooks/test_save_cm.py::test_figures_leave_nothing_behind",)),
    30: (
        "StopAfter counts batches of the zeroth epoch",
        ("hooks/test_stop_after.py::test_batches_of_the_zeroth_epoch_do_not_count",),
    ),
    31: ("StopOnNaN crashes on matrices", ("hooks/test_stop_on_nan.py::test_a_nan_ends_the_training",)),
    60: (
        "WriteCSV quotes nothing and repeats its header",
        (
            "hooks/test_write_csv.py::test_values_that_would_break_the_table_are_quoted",
            "hooks/test_write_csv.py::test_a_table_is_continued_and_gets_no_second_header",
        ),
    ),
    61: ("Benchmark has no figure for one batch", ("hooks/test_profile_hooks.py::test_the_only_batch_counts",)),
    62: (
        "ClassificationMetrics needs scikit-learn without saying so, and two classes",
        (
            "hooks/test_classification_metrics.py::test_a_missing_package_is_told_at_construction",
            "hooks/test_classification_metrics.py::test_binary_data_may_have_a_single_class",
        ),
    ),
    63: (
        "SaveMasks is not exported, fails without a folder and notices no failure",
        (
            "hooks/test_hooks_package.py::test_every_hook_is_where_its_users_import_it_from",
            "hooks/test_save_masks.py::test_a_folder_that_is_a_file_is_an_error",
        ),
    ),
    64: (
        "the dataset's helpers must be methods",
        ("hooks/test_save_cm.py::test_classes_come_from_who_knows_them_best",),
    ),
    65: (
        "statistics keep every example and need every variable in every stream",
        (
            "hooks/test_compute_stats.py::test_memory_does_not_grow_with_the_number_of_batches",
            "hooks/test_compute_stats.py::test_only_the_listed_streams_are_observed",
        ),
    ),
    66: (
        "any attribute of NumPy is an aggregation",
        ("hooks/test_compute_stats.py::test_what_cannot_be_computed_is_refused_at_once",),
    ),
    67: (
        "OnPlateau checks no objective and has no tolerance",
        (
            "hooks/test_stop_on_plateau.py::test_what_could_never_be_a_plateau_is_refused",
            "hooks/test_stop_on_plateau.py::test_a_tolerance_may_be_given",
        ),
    ),
    68: (
        "arguments of one meaning have different names",
        ("compat/test_defects.py::test_saving_hooks_take_both_names_of_their_policy",),
    ),
    69: (
        "ShowProgress writes control codes to anything, on stdout",
        (
            "_reporter/test_terminal.py::test_a_dumb_terminal_gets_plain_lines",
            "hooks/test_show_progress.py::test_standard_error_is_where_a_line_is_erased",
            "hooks/test_show_progress.py::test_nothing_to_do_is_all_done",
        ),
    ),
    85: (
        "saves are not atomic, have no manifest, and are not tried again",
        (
            "test_saved_models.py::test_a_process_killed_at_any_step_of_a_save_leaves_the_old_or_the_new_model",
            "hooks/test_save.py::test_a_best_model_that_could_not_be_saved_is_not_the_best",
        ),
    ),
    # -- models
    16: ("Sequence loses the stream", ("models/test_sequence.py::test_the_stream_reaches_every_member",)),
    70: (
        "any directory is a member, in any order; names can be read once",
        (
            "models/test_ensemble.py::test_without_paths_all_models_below_the_root_are_members",
            "models/test_sequence.py::test_names_come_from_the_members",
            "models/test_sequence.py::test_it_cannot_be_trained_or_saved",
        ),
    ),
    # -- command line
    32: (
        "-o and -v before the command are ignored",
        ("compat/test_command_line.py::test_common_options_work_wherever_they_stand",),
    ),
    33: (
        "resume takes an override for a path",
        (
            "compat/test_command_line.py::test_an_override_behind_the_run_is_no_path_to_restore_from",
            "compat/test_old_run.py::test_another_config_takes_the_old_model",
        ),
    ),
    35: (
        "--rm fails where the creation has failed",
        ("end_to_end/test_bad_input.py::test_rm_deletes_what_the_run_has_created",),
    ),
    36: (
        "--rm deletes a directory that was there before",
        ("_run_dir/test_run.py::test_a_run_that_was_there_before_is_not_deleted",),
    ),
    37: ("a grid search passes texts", ("cli/test_grid_search.py::test_values_keep_their_types",)),
    38: ("one broken directory ends a listing", ("cli/test_ls.py::test_broken_runs_never_spoil_a_listing",)),
    39: ("prune deletes what is no run", ("cli/test_prune.py::test_what_is_not_ours_stays",)),
    40: (
        "prune deletes evaluations and live runs",
        (
            "cli/test_prune.py::test_a_live_run_never_goes",
            "cli/test_prune.py::test_trainings_with_too_few_epochs_go",
        ),
    ),
    72: (
        "a grid search splits at blanks and always ends with 0",
        (
            "cli/test_grid_search.py::test_members_run_one_after_the_other_and_failures_are_told",
            "cli/test_grid_search.py::test_a_command_that_is_not_there_fails",
        ),
    ),
    73: (
        "a listing is unsorted and for people only",
        (
            "cli/test_ls.py::test_names_are_listed_earliest_first",
            "cli/test_ls.py::test_a_listing_for_programs_has_everything_a_person_sees",
        ),
    ),
    74: (
        "a file in the working directory shadows the standard library",
        ("compat/test_command_line.py::test_a_file_in_the_working_directory_takes_no_modules_place",),
    ),
    84: (
        "what a dataset's method returns is dropped",
        ("compat/test_command_line.py::test_a_method_of_the_dataset_prints_what_it_returns",),
    ),
    # -- utilities
    46: (
        "an interrupted download counts as complete",
        (
            "_support/test_download.py::test_a_file_that_was_cut_off_is_not_kept",
            "_support/test_download.py::test_a_wrong_hash_is_an_error_and_nothing_is_kept",
            "_support/test_download.py::test_a_silent_server_is_given_up",
            "_support/test_fetch.py::test_a_failed_extraction_is_made_up_for_without_a_download",
        ),
    ),
    47: (
        "archives are unpacked without looking at their names",
        (
            "_support/test_extract.py::test_a_name_that_leads_out_or_astray_is_refused",
            "_support/test_extract.py::test_a_tar_gives_files_and_folders_only",
            "_support/test_extract.py::test_a_zip_gives_files_and_folders_only",
        ),
    ),
    48: (
        "a failed download is no failure; sizes must be told; names collide",
        (
            "datasets/test_downloadable_dataset.py::test_the_command_downloads_and_fails_when_it_cannot",
            "_support/test_download.py::test_a_file_is_stored_whole_however_its_size_is_told",
            "_support/test_fetch.py::test_different_urls_have_different_files",
            "_support/test_fetch.py::test_a_url_gives_a_plain_file_name",
        ),
    ),
    79: (
        "entering a helper gives None",
        ("utils/test_misc.py::test_entering_gives_the_manager_itself",),
    ),
    83: (
        "the confusion matrix is a loop over examples",
        ("hooks/_statistics/test_confusion.py::test_every_pair_is_counted_where_it_belongs",),
    ),
}


@cache
def functions_of(path: Path) -> frozenset[str]:
    """Names of the functions of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_the_list_is_complete():
    """From the first to the last, without a gap."""
    assert sorted(DEFECTS) == list(range(1, 86))


@pytest.mark.parametrize("number", sorted(DEFECTS), ids=lambda number: f"D{number}")
def test_a_defect_is_gone(number):
    """There is a test that would notice it, or a reason."""
    what, gone = DEFECTS[number]
    assert what
    assert gone
    for test in gone if isinstance(gone, tuple) else ():
        file, _, function = test.partition("::")
        assert function in functions_of(TESTS / file), test


@pytest.mark.parametrize("hook", ["SaveBest", "SaveLatest", "SaveEvery"])
@pytest.mark.parametrize("argument", ["on_failure", "on_save_failure"])
def test_saving_hooks_take_both_names_of_their_policy(hook, argument):
    """0.2 had one for ``SaveEvery`` and another for the others."""
    from emloop import hooks  # noqa: PLC0415 - nothing else in this file needs them

    class Model:
        def save(self, name_suffix):
            raise RuntimeError("cannot")

    saving = getattr(hooks, hook)(model=Model(), **{argument: "ignore"})

    saving.after_epoch(epoch_id=0, epoch_data={"valid": {"loss": {"mean": 1.0}}})
