"""``emloop completion``: let a shell complete commands, options, runs and config files.

The script that it prints asks ``emloop`` itself at every tab, with ``--line``, so it need not be renewed.

Examples:
    emloop completion bash >> ~/.bashrc
    emloop completion zsh > ~/.zfunc/_emloop
    emloop completion fish > ~/.config/fish/completions/emloop.fish
"""

import os
import re
import shlex
from argparse import SUPPRESS, Action, ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from emloop._run_dir.layout import run_places
from emloop._run_dir.summary import RunSummary, metric_names
from emloop.constants import EL_DEFAULT_LOG_DIR, EXIT_DONE
from emloop.errors import EmloopError

from .. import render
from ..args import COMMANDS, CONFIG, CONFIG_OR_RUN, RUN, SAVED_MODEL, get_emloop_arg_parser

_BEST = "best:"
_PLAIN = re.compile(r"[\w./@%+,-]+")
_MOST_READ = 20
"""Most runs whose metrics are read, since somebody waits for the key that was pressed."""

_SCRIPTS = {
    "bash": r"""_emloop() {
    local IFS=$'\n'
    COMPREPLY=($(emloop completion bash --line="${COMP_LINE:0:COMP_POINT}" --breaks="$COMP_WORDBREAKS" 2>/dev/null))
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[/=:] ]] && compopt -o nospace
    return 0
}
complete -o default -F _emloop emloop
""",
    "zsh": r"""#compdef emloop
_emloop() {
    local -a found
    found=("${(@f)$(emloop completion zsh --line="${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    [[ -n ${found[1]} ]] && compadd -a found || _files
}
if [[ $funcstack[1] == _emloop ]]; then _emloop "$@"; else compdef _emloop emloop; fi
""",
    "fish": r"""function __emloop_complete
    emloop completion fish --line=(commandline -cp | string collect) 2>/dev/null
end
complete -c emloop -a '(__emloop_complete)'
""",
}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("shell", metavar="SHELL", choices=list(_SCRIPTS), help=", ".join(_SCRIPTS))
    parser.add_argument("--line", metavar="TEXT", help=SUPPRESS)
    parser.add_argument("--breaks", metavar="CHARACTERS", default="", help=SUPPRESS)


def run(arguments: Namespace) -> int:
    """Run the command."""
    if arguments.line is None:
        print(_SCRIPTS[arguments.shell].rstrip("\n"))
        return EXIT_DONE
    *words, last = _words(arguments.line)
    # A shell that breaks words at some characters replaces what follows the last of them.
    start = max((last.rfind(character) + 1 for character in arguments.breaks), default=0)
    for candidate in completions(words[1:], last):
        is_whole = arguments.shell == "bash" and not candidate.endswith(("/", "=", ":"))
        render.say((shlex.quote(candidate) if is_whole and not start else candidate)[start:])
    return EXIT_DONE


def completions(words: Sequence[str], last: str) -> list[str]:
    """What the last word of a command line may become, sorted as it is shown.

    Args:
        words: The words before it, without ``emloop`` itself.
        last: The beginning of the word; it may be empty.
    """
    parser, rest, root = get_emloop_arg_parser(words=words), list(words), EL_DEFAULT_LOG_DIR
    expected: list[Action] = [action for action in parser._actions if not action.option_strings]
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=")
        action = parser._option_string_actions.get(option if option.startswith("--") else word)
        if action is not None and action.nargs != 0:
            if not equals and not rest:
                return list(_values(action, last, root))
            value = value if equals else rest.pop(0)
            root = value if action.dest == "output_root" else root
        elif action is None and expected and not word.startswith("-"):
            if expected[0].dest == "command":
                commands = cast("Mapping[str, ArgumentParser]", expected[0].choices)
                if word not in commands:
                    return []
                parser = commands[word]
                expected = [action for action in parser._actions if not action.option_strings]
            elif expected[0].nargs not in ("*", "+"):
                expected.pop(0)
    if last.startswith("-"):
        return sorted(_options(parser, last))
    return list(_values(expected[0], last, root)) if expected else []


def _options(parser: ArgumentParser, last: str) -> Iterator[str]:
    for action in parser._actions:
        if action.help != SUPPRESS:
            yield from (option for option in action.option_strings if option.startswith(last))


def _values(action: Action, last: str, root: str) -> Iterator[str]:
    """What an argument accepts; shells complete files themselves where this is nothing."""
    if action.dest == "command":
        yield from (name for name in COMMANDS if name.startswith(last))
    elif action.choices is not None:
        yield from (str(choice) for choice in action.choices if str(choice).startswith(last))
    if action.help in (CONFIG, CONFIG_OR_RUN) or action.dest == "config":
        yield from _configs(last)
    if action.help in (RUN, CONFIG_OR_RUN, SAVED_MODEL) or "RUN" in str(action.metavar):
        yield from _runs(last, root)


def _configs(last: str) -> Iterator[str]:
    folder, beginning = os.path.split(last)
    with suppress(OSError):
        for name in sorted(os.listdir(folder or ".")):  # noqa: PTH208 - what was typed goes on as it was typed
            if name.startswith(beginning) and (beginning or not name.startswith(".")) and name.isprintable():
                path = os.path.join(folder, name)  # noqa: PTH118
                if Path(path).is_dir():
                    yield f"{path}/"
                elif name.endswith((".yaml", ".yml")):
                    yield path


def _runs(last: str, root: str) -> Iterator[str]:
    yield from (word for word in ("@", "@-1", _BEST) if last and word.startswith(last) and word != last)
    try:
        places = sorted(run_places(root, recursive=True))
    except EmloopError:
        return
    if last.startswith(_BEST):
        names = (name for place in places[:_MOST_READ] for name in metric_names(RunSummary(place).metrics))
        # What follows a colon cannot be quoted.
        words = dict.fromkeys(f"{_BEST}{name}" for name in names if _PLAIN.fullmatch(name))
    else:
        words = dict.fromkeys(os.path.relpath(place, root) for place in places)
    yield from (word for word in words if word.startswith(last) and word.isprintable())


def _words(line: str) -> list[str]:
    """The words of a line up to the cursor; the last one may be empty, and none has to be whole."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    words = []
    with suppress(ValueError):  # a quote that is still open
        words = list(lexer)
        return words if line and not line[-1].isspace() and len(words) > 1 else [*words, ""]
    return [*line.split()[:-1], line.rsplit(maxsplit=1)[-1].lstrip("'\"")]
