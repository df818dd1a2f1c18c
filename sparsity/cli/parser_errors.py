"""The parser's errors in one sentence: jsonargparse reports every type it tried, over many lines."""

import difflib
import re
from collections.abc import Iterable, Sequence

from sparsity.runs.class_paths import takes_any_name

_NOISE = re.compile(
    r"(Does not validate against|Subtypes:|Errors:|Given value|Problem with given class_path|Expected a path but)"
    r"|Expected a <class 'NoneType'>"
)
_NO_CLASS = re.compile(r"Option '(.+)' is not accepted.*class_path='(?:torch\.optim\.Optimizer|typing\.Union)'")
"""Of an optimizer or schedule whose class is not given the parser takes the base class."""


_NAMES_NO_CLASS = re.compile(r"Expected an instantiatable class, but .+ is abstract|Not a valid subclass of")
_CHOSEN = re.compile(r"(pruner|data|model\.(?:network|optimizer|lr_scheduler))\.")
"""Classes that a user chooses, whose arguments a config has under `init_args`."""


def one_sentence(message: str, class_names: Iterable[str] = (), options: Sequence[str] = ()) -> str:
    """What is wrong, where, and what to do instead.

    Args:
        message: From jsonargparse: nested keys and every alternative that failed.
        class_names: Bare names of classes that could have been meant by an unknown one.
        options: Dotted names of options that could have been meant by one that nobody knows.
    """
    if unrecognized := re.match(r"unrecognized arguments: --([\w.]+)", message):
        meant = meant_option(unrecognized[1], options)
        hint = f"did you mean --{meant}?" if meant else "--help lists those there are"
        return f"there is no option --{unrecognized[1]}; {hint}"
    key = ""
    for part in re.findall(r'Parser key "([^"]+)"', message):
        # Within lists a key is told twice.
        key = key if key.endswith(f".{part}") else f"{key}.{part}".lstrip(".")
    lines = [re.sub(r'Parser key "[^"]+":', "", line).strip(" -") for line in message.splitlines()]
    reasons = [line for line in lines if line and not _NOISE.match(line)]
    reason = reasons[0] if reasons else " ".join(message.split())
    reason = re.sub(r"^Type typing\.Callable\[.*\] expects a function or a callable class: ", "", reason)
    # Of what is made within something else, the last is where it went wrong.
    paths = re.findall(r"given class_path '([\w.]+)'", message)
    chosen = paths[-1].rpartition(".")[2] if paths else ""

    if told := re.match(r"Subcommand '\w+' does not accept option '(.+)'", reason):
        meant = meant_option(told[1], options)
        hint = f"did you mean {_in_a_config(meant)}?" if meant else "--help lists those there are"
        return f"a config gives {told[1]}, and there is no such option; {hint}"
    if file := re.match(r"Invalid content in sub-config file (.+?): (.+)", reason):
        return f"{key}: {file[1]} is not valid YAML: {_with_line(file[2], message)}"
    if (file := re.match(r"Unable to load config '([^']+)'", reason)) and "<unicode string>" in message:
        return f"{key}: {file[1]} is not valid YAML: {_with_line(reasons[1], message)}"
    if _NAMES_NO_CLASS.match(reason) or "path 'torch.nn.Module':" in message:
        return f"{key} names no class; give --{key} NAME, or in a config class_path, and its arguments under init_args"
    if layer := re.match(r"(?:Unexpected import path format: |Unable to load config ')([^']+\.ya?ml)", reason):
        return (
            f"{key.rpartition('.')[2]}: there is no config {layer[1]}; its path is relative to the config that names it"
        )
    if file := re.search(r"Problem with given class_path '([^']+\.ya?ml)'", message):
        return f"{key}: there is no file {file[1]}; give a class, or a YAML file with class_path and init_args"
    if unknown := re.match(r"Expected a dot import path string: (.+)", reason):
        names = {name.lower(): name for name in class_names}
        close = [names[name] for name in difflib.get_close_matches(unknown[1].lower(), names, n=1)]
        hint = f"did you mean {close[0]}?" if close else f"--{key}.help lists the classes there are"
        return f"{key}: no class is called {unknown[1]}; {hint}"
    if wrong := re.match(r"Expected a <class '(\w+)'>(?:\. Got value:\s*(.*))?$", reason):
        # Where several types are allowed, the value stands after them, by itself.
        value = wrong[2] if wrong[2] is not None else "".join(re.findall(r"Given value: (.*)", message)[:1])
        return f"{key} must be of type {wrong[1]}, not {value or 'empty'}"
    if choice := re.match(r"Expected a typing\.Literal\[(.+)\]\. Got value: (.*)", reason):
        return f"{key} must be one of {choice[1].replace(chr(39), '')}, not {choice[2] or 'empty'}"
    if re.match(r"Expected a <class 'collections\.abc\.Sequence'>", reason):
        return f"{key} is a list: write [{reason.rpartition('Got value: ')[2]}]"
    if no_class := _NO_CLASS.match(reason):
        example = "StepLR" if key.endswith("lr_scheduler") else "SGD"
        return f"{key} has no class yet to take {no_class[1]}: give --{key} {example} --{key}.{no_class[1]} VALUE"
    if missing := re.match(r"the following arguments are required: ((?:validate|test|predict|fit)\.\S+)", reason):
        needed = missing[1].strip(",").partition(".")[2]
        return f"there is no {needed}: give --{needed}, or all of a run's settings with --config RUN/config.yaml"
    if chosen and (option := re.match(r"Option '(.+)' is not accepted", reason)):
        more = f"; as one of its **kwargs it is --{key}.dict_kwargs.{option[1]}" if takes_any_name(paths[-1]) else ""
        return f"{key}: {chosen} has no argument {option[1]}; --{key}.help={chosen} lists those it has{more}"
    if chosen and (required := re.match(r"the following arguments are required: (.+)", reason)):
        return f"{key}: {chosen} needs {required[1]}; give --{key}.{required[1].split(', ')[0]}"
    return f"{key}: {reason}" if key else reason


def meant_option(name: str, options: Sequence[str]) -> str | None:
    """The option that an unknown one stands for: of the same last part, or that ends in it, or that is nearly it."""
    last = name.rpartition(".")[2]
    by_last: dict[str, str] = {}
    for option in options:
        by_last.setdefault(option.rpartition(".")[2], option)
    if last in by_last:
        return by_last[last]
    ending = [option for part, option in by_last.items() if part.endswith(f"_{last}")]
    close = [by_last[part] for part in difflib.get_close_matches(last, by_last, n=1, cutoff=0.7)]
    return next(iter(ending + close), None)


def _in_a_config(option: str) -> str:
    return _CHOSEN.sub(r"\1.init_args.", option)


def _with_line(problem: str, message: str) -> str:
    line = re.search(r'in "<unicode string>", line (\d+)', message)
    return f"line {line[1]}: {problem}" if line else problem
