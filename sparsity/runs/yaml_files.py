"""Reading YAML that somebody else may have written: in bounded time, and without what it could do besides."""

import copy
import re
from functools import lru_cache
from typing import Any

import yaml

MOST_NODES = 10_000
"""A file may stand for so many values once its aliases are written out: nine levels of ten aliases are a billion."""


_RATIO = re.compile(r"[0-9]+:[0-9]+$")


class TooMuchError(yaml.YAMLError):
    """Text that stands for more than anybody means."""


def read_ratios_as_text(loader: type[Any]) -> None:
    """Let `2:4` be text, as it is in YAML 1.2; in YAML 1.1 it is 124, a number in base 60.

    Args:
        loader: A class of PyYAML's; changed in place, those that it derives from are not.
    """
    resolvers = dict(loader.yaml_implicit_resolvers)
    for digit in "0123456789":
        resolvers[digit] = [("tag:yaml.org,2002:str", _RATIO), *resolvers.get(digit, [])]
    loader.yaml_implicit_resolvers = resolvers


def reason_of(error: yaml.YAMLError) -> str:
    """Why a text is no YAML, with the line."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    return problem if mark is None else f"line {mark.line + 1}: {problem}"


def load_yaml(text: str) -> Any:
    """Read YAML, with plain values alone.

    Raises:
        YAMLError: If it is none, has a key twice, stands for too much, or is nested too deeply.
    """
    require_bounded(text)
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError as error:
        raise TooMuchError("it is nested too deeply") from error


def load_yaml_without_aliases(text: str) -> Any:
    """Read YAML that this program has written, which never has an alias.

    Raises:
        YAMLError: If it is none, has an alias, or is nested too deeply.
    """
    return copy.deepcopy(_without_aliases(text))


@lru_cache(maxsize=1024)
def _without_aliases(text: str) -> Any:
    """What a text says; a run's config is read by several, and each time takes milliseconds."""
    try:
        return yaml.load(text, Loader=_WithoutAliases)
    except RecursionError as error:
        raise TooMuchError("it is nested too deeply") from error


def require_bounded(text: str) -> None:
    """Refuse aliases that stand for too much, or for what they are part of; takes time in proportion to the text.

    Raises:
        YAMLError: If it does, or cannot be read.
    """
    if "*" not in text or "&" not in text:
        return
    try:
        nodes = _nodes(yaml.compose(text, Loader=yaml.SafeLoader), {})
    except RecursionError as error:
        raise TooMuchError("it is nested too deeply") from error
    if nodes > MOST_NODES:
        raise TooMuchError(f"its aliases stand for more than {MOST_NODES:,} values; write them out")


def _nodes(node: yaml.Node | None, counted: dict[int, int]) -> int:
    """How many nodes a tree has in which every alias is written out."""
    if id(node) not in counted:
        counted[id(node)] = MOST_NODES + 1  # of a node within itself
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        children = [child for item in inner for child in (item if isinstance(item, tuple) else (item,))]
        counted[id(node)] = 1 + sum(_nodes(child, counted) for child in children)
    return counted[id(node)]


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge")]
        seen: set[tuple[str, str]] = set()
        for key in keys:
            if (key.tag, key.value) in seen:  # of which PyYAML takes the last in silence
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands a second time", key.start_mark
                )
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


read_ratios_as_text(_Loader)


class _WithoutAliases(_Loader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise TooMuchError("it has an alias, which no run's config has")
        return super().compose_node(parent, index)
