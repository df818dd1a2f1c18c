"""The parser's errors in one sentence: jsonargparse reports every type it tried, over many lines."""

import difflib
import re
from collections.abc import Iterable

_NOISE = re.compile(
    r"(Does not validate against|Subtypes:|Errors:|Given value|Problem with given class_path|Expected a path but)"
    r"|Expected a <class 'NoneType'>"
)


def one_sentence(message: str, class_names: Iterable[str] = ()) -> str:
    """What is wrong, where, and what to do instead.

    Args:
        message: From jsonargparse: nested keys and every alternative that failed.
        class_names: Bare names of classes that could have been meant by an unknown one.
    """
    key = ""
    for part in re.findall(r'Parser key "([^"]+)"', message):
        # Within lists a key is told twice.
        key = key if key.endswith(f".{part}") else f"{key}.{part}".lstrip(".")
    lines = [re.sub(r'Parser key "[^"]+":', "", line).strip(" -") for line in message.splitlines()]
    reasons = [line for line in lines if line and not _NOISE.match(line)]
    reason = reasons[0] if reasons else " ".join(message.split())
    chosen = re.search(r"given class_path '(?:[\w.]*\.)?(\w+)'", message)

    if unknown := re.match(r"Expected a dot import path string: (.+)", reason):
        close = difflib.get_close_matches(unknown[1], class_names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"--{key}.help lists the classes there are"
        return f"{key}: no class is called {unknown[1]}; {hint}"
    if wrong := re.match(r"Expected a <class '(\w+)'>(?:\. Got value:\s*(.*))?$", reason):
        # Where several types are allowed, the value stands after them, by itself.
        value = wrong[2] if wrong[2] is not None else "".join(re.findall(r"Given value: (.*)", message)[:1])
        return f"{key} must be of type {wrong[1]}, not {value or 'empty'}"
    if chosen and (option := re.match(r"Option '(.+)' is not accepted", reason)):
        return f"{key}: {chosen[1]} has no argument {option[1]}; --{key}.help={chosen[1]} lists those it has"
    if chosen and (required := re.match(r"the following arguments are required: (.+)", reason)):
        return f"{key}: {chosen[1]} needs {required[1]}; give --{key}.{required[1].split(', ')[0]}"
    return f"{key}: {reason}" if key else reason
