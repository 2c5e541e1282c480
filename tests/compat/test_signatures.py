"""Public functions and constructors take what they took in emloop 0.2: by the same names, in the same places."""

from __future__ import annotations

import importlib
import inspect

import pytest

from emloop.main_loop import MainLoop

SIGNATURES = {
    "emloop.api": [
        "create_output_dir(config, output_root, default_model_name='Unnamed', output_dir_name=None)",
        "create_dataset(config, output_dir=None)",
        "create_model(config, output_dir=None, dataset=None, restore_from=None)",
        "create_hooks(config, model=None, dataset=None, output_dir=None)",
        "create_emloop_training(config, output_root, restore_from=None, output_dir_name=None)",
        "delete_output_dir(output_dir)",
    ],
    "emloop.utils.config": ["load_config(config_file, additional_args=(), override_stream=None)", "parse_arg(arg)"],
    "emloop.utils.yaml": [
        "load_yaml(yaml_file)",
        "yaml_to_file(data, output_dir, name)",
        "yaml_to_str(data)",
        "reload(data)",
    ],
    "emloop.utils.reflection": [
        "parse_fully_qualified_name(fq_name)",
        "get_attribute(module_name, attribute_name)",
        "create_object(module_name, class_name, args=(), kwargs={})",
        "list_submodules(module_name)",
        "find_class_module(module_name, class_name)",
        "get_class_module(module_name, class_name)",
    ],
    "emloop.utils.confusion_matrix": ["confusion_matrix(expected, predicted, num_classes)"],
    "emloop.utils.names": ["get_random_name(sep='-')"],
    "emloop.utils.profile": ["Timer(name, profile)"],
    "emloop.utils.misc": ["DisabledPrint()", "DisabledLogger(name=None)", "ReleasedSemaphore(semaphore)"],
    "emloop.utils.download": ["sanitize_url(url)", "maybe_download_and_extract(data_root, url)"],
    "emloop.cli.util": ["find_config(config_path)", "validate_config(config)", "fallback(message, ex)"],
    "emloop.cli.args": ["get_emloop_arg_parser(add_common_arguments=False)"],
    "emloop.cli.train_fn": ["train(config_path, cl_arguments, output_root, delete_dir, output_dir)"],
    "emloop.cli.resume_fn": ["resume(config_path, restore_from, cl_arguments, output_root, delete_dir, output_dir)"],
    "emloop.cli.eval_fn": [
        "evaluate(model_path, eval_target, config_path, cl_arguments, output_root, delete_dir, output_dir=None)"
    ],
    "emloop.cli.dataset": ["invoke_dataset_method(config_path, method_name, output_root, cl_arguments)"],
    "emloop.cli.ls": ["list_train_dirs(dir_, recursive, all_, long, verbose)"],
    "emloop.cli.prune": ["prune_train_dirs(dir_, epochs, subdirs)"],
    "emloop.datasets": [
        "AbstractDataset(config_str)",
        "BaseDataset(config_str)",
        "DownloadableDataset(config_str)",
        "StreamWrapper(stream_fn, buffer_size=0, epoch_size=-1, name=None, profile=None)",
    ],
    "emloop.models.ensemble": [
        "major_vote(all_votes)",
        (
            "Ensemble(inputs, outputs, aggregation='major_vote', models_root=None, model_paths=None, dataset=None, "
            "eager_loading=False)"
        ),
        "Ensemble.run(self, batch, train=False, stream=None)",
    ],
    "emloop.models.sequence": [
        "Sequence(model_paths, models_root=None, dataset=None, eager_loading=False)",
        "Sequence.run(self, batch, train=False, stream=None)",
    ],
    "emloop.models.abstract_model": [
        "AbstractModel.__init__(self, dataset, log_dir, restore_from=None)",
        "AbstractModel.run(self, batch, train, stream)",
        "AbstractModel.save(self, name_suffix)",
    ],
    "emloop.main_loop": [
        (
            "MainLoop(model, dataset, hooks=(), train_stream_name='train', extra_streams=(), buffer=0, "
            "on_empty_batch='error', on_empty_stream='error', on_unused_sources='warn', on_incorrect_config='error', "
            "epochs_count=None, fixed_batch_size=None, fixed_epoch_size=None, skip_zeroth_epoch=False)"
        ),
        "MainLoop.get_stream(self, stream_name)",
        "MainLoop.prepare_streams(self, stream_list, base_name)",
        "MainLoop.run_evaluation(self, stream_name)",
        "MainLoop.run_training(self)",
        "MainLoop.epoch(self, train_streams, eval_streams)",
    ],
    "emloop.hooks.abstract_hook": [
        "AbstractHook.register_mainloop(self, main_loop)",
        "AbstractHook.before_training(self)",
        "AbstractHook.after_batch(self, stream_name, batch_data)",
        "AbstractHook.after_epoch(self, epoch_id, epoch_data)",
        "AbstractHook.after_epoch_profile(self, epoch_id, profile, streams)",
        "AbstractHook.after_training(self, success)",
    ],
    "emloop.hooks": [
        "AccumulateVariables(variables)",
        "Benchmark(batch_size)",
        "Check(variable, required_min_value, max_epoch, stream='valid')",
        "ClassificationMetrics(predicted_variable, gt_variable, f1_average=None, var_prefix='')",
        "ComputeStats(variables)",
        "EveryNEpoch(n_epochs=1)",
        "Flatten(variables, streams=None)",
        "LogDir(output_dir)",
        "LogProfile()",
        "LogVariables(variables=None, on_unknown_type='ignore')",
        "LogitsToCsv(variable, class_names, id_variable, output_file, streams=None)",
        "OnPlateau(long_term=50, short_term=10, stream='valid', variable='loss', objective='min')",
        (
            "PlotLines(output_dir, variables, streams=None, id_variable='ids', pad_mask_variable=None, "
            "out_format='png', ymin=None, ymax=None, example_count=None, batch_count=None, root_dir='visual')"
        ),
        "PlotLines.plot_figure(self, idx, batch_data)",
        "SaveEvery(model, on_failure='error', n_epochs=1)",
        "SaveEvery.save_model(model, name_suffix, on_failure)",
        (
            "SaveBest(model, model_name='best', variable='loss', condition='min', stream='valid', aggregation='mean', "
            "on_save_failure='error')"
        ),
        "SaveLatest(model, on_save_failure='error')",
        (
            "SaveConfusionMatrix(output_dir, dataset, labels_name='labels', predictions_name='predictions', "
            "classes_names=None, figsize=None, figure_action='save', num_classes_method_name='num_classes', "
            "classes_names_method_name='classes_names', mask_name=None, normalize=True, cmap='Blues')"
        ),
        "SaveFile(files, output_dir)",
        "SaveMasks(mask_variable, path_variable, factor=255.0, output_root='', suffix='_mask.png')",
        "SequenceToCsv(variables, id_variable, output_file, pad_mask_variable=None, streams=None)",
        "ShowProgress(dataset)",
        "StopAfter(epochs=None, iterations=None, minutes=None, train_stream_name='train')",
        "StopOnNaN(variables=None, on_unknown_type='ignore', stop_on_inf=False, after_batch=False, after_epoch=True)",
        "StopOnPlateau(long_term=50, short_term=10, stream='valid', variable='loss', objective='min')",
        "TrainingTrace(output_dir)",
        (
            "WriteCSV(output_dir, output_file='training.csv', delimiter=',', default_value='', variables=None, "
            "on_unknown_type='default', on_missing_variable='error')"
        ),
    ],
    "emloop.hooks.show_progress": [
        "print_progress_bar(done, total, prefix, suffix)",
        "erase_line()",
        "get_formatted_time(seconds)",
    ],
}
"""Module → what it offers, as the reference's documentation says."""


@pytest.mark.parametrize(
    ("module", "documented"), [(module, text) for module, texts in SIGNATURES.items() for text in texts]
)
def test_arguments_keep_their_names_and_places(module, documented):
    """Whatever was called, by position or by name, is called in the same way; there may be more arguments."""
    path, _, rest = documented.partition("(")
    found = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    wanted = inspect.signature(eval(f"lambda {rest[:-1]}: None"))
    there = inspect.signature(found).parameters
    places = [name for name, parameter in there.items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]

    for place, (name, parameter) in enumerate(wanted.parameters.items()):
        assert name in there
        if parameter.default is not parameter.empty:
            assert there[name].default == parameter.default or there[name].default is not parameter.empty
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            assert places[place] == name


def test_nothing_new_is_required():
    """A call of 0.2 names all that there is to name."""
    parameters = inspect.signature(MainLoop).parameters.values()
    assert [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD] == ["model", "dataset"]
