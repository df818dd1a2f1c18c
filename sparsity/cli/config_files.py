"""What is wrong with a config, told with its file and place before the parser finds its own words for it."""

from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import yaml

from sparsity.errors import SparsityError
from sparsity.formatting import listed
from sparsity.runs.yaml_files import load_yaml, reason_of

_OF_A_CLASS = {"class_path", "init_args", "dict_kwargs"}


def require_config(path: str | PathLike[str]) -> None:
    """Refuse a file that cannot be a config, whatever its options are; one that cannot be read is left to the parser.

    Raises:
        SparsityError: Names the file, and the line or the place in it.
    """
    try:
        content = load_yaml(Path(path).read_text(encoding="utf-8"))
        require_arguments_of_classes(content)
    except OSError:
        return
    except yaml.YAMLError as error:
        raise SparsityError(f"{fspath(path)} is not valid YAML: {reason_of(error)}") from error
    except UnicodeDecodeError as error:
        raise SparsityError(f"{fspath(path)} is not a text in UTF-8") from error
    except SparsityError as error:
        raise SparsityError(f"{fspath(path)}: {error}") from error
    if not isinstance(content, Mapping):
        what = "empty" if content is None else f"a {type(content).__name__}"
        raise SparsityError(f"{fspath(path)} is {what}, and a config has options by their names, as in data: MNIST")
    if "axes" in content:
        raise SparsityError(f"{fspath(path)} is a study; run it with `sparsity study --config {fspath(path)}`")


def require_arguments_of_classes(content: Any, place: str = "") -> None:
    """Refuse arguments of a class that stand beside its class_path, where the parser takes them for something else.

    Args:
        content: Of a config, or of a part of it.
        place: Where that is, for the message.

    Raises:
        SparsityError: Names the first place.
    """
    if isinstance(content, Mapping):
        beside = [str(name) for name in content if name not in _OF_A_CLASS] if "class_path" in content else []
        if beside:
            where = f"{place}: " if place else ""
            verb = "stands" if len(beside) == 1 else "stand"
            raise SparsityError(
                f"{where}{listed(beside)} {verb} beside class_path: {content['class_path']}; its arguments stand "
                "under init_args"
            )
        for name, value in content.items():
            require_arguments_of_classes(value, f"{place}.{name}" if place else str(name))
    elif isinstance(content, list):
        for value in content:
            require_arguments_of_classes(value, place)
