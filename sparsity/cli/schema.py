"""The command `schema`: what editors need to complete and check configs and studies."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from sparsity.cli.fit_configs import FitConfigs
from sparsity.cli.parser import OneSentenceParser, add_options_of, command_parser
from sparsity.study.distributions import LISTED, NUMBER
from sparsity.trainer.internals import options_of

Schema = dict[str, Any]

_DRAFT = "http://json-schema.org/draft-07/schema#"
_ANY_FILE = {"type": "string", "pattern": r"\.ya?ml$", "description": "A file with this part of the config."}
_FOREIGN: Schema = {
    "type": "object",
    "description": "A class or function of another package.",
    "properties": {"class_path": {"type": "string", "pattern": r"^(?!sparsity\.).*\..*"}, "init_args": {}},
    "required": ["class_path"],
    "additionalProperties": False,
}

_NUMBER: Schema = {"type": ["number", "string"], "pattern": NUMBER}
_DISTRIBUTION: Schema = {
    "description": "What values are drawn from.",
    "anyOf": [
        {
            "type": "object",
            "properties": {"low": _NUMBER, "high": _NUMBER, "log": {"type": "boolean"}, "step": _NUMBER},
            "required": ["low", "high"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {"choices": {"type": "array", "minItems": 2}},
            "required": ["choices"],
            "additionalProperties": False,
        },
    ],
}

_SCHEDULE: Schema = {
    "type": "object",
    "description": "A schedule of torch.optim.lr_scheduler, by its bare name.",
    "properties": {"class_path": {"type": "string"}, "init_args": {"type": "object"}},
    "required": ["class_path"],
    "additionalProperties": False,
}


def schema(of: Literal["fit", "study"] = "fit") -> None:
    """Print a JSON schema.

    Args:
        of: Of the configs of `fit`, parts of them included, or of studies.
    """
    parser = FitConfigs().parser
    found = fit_schema(json.loads(parser.get_completion_script("jsonschema")))
    print(json.dumps(found if of == "fit" else study_schema(list(options_of(parser)))))


def fit_schema(found: Schema) -> Schema:
    """Let the parser's schema have what a config may say besides.

    Classes by their bare names, parts of a config in files of their own, configs that are parts of others, and classes
    of any package.

    Args:
        found: Of the parser of `fit`; changed in place.
    """
    found.pop("required", None)
    parts = found["properties"]
    parts["model"].pop("required", None)
    for name in ("model", "data", "trainer", "pruner"):
        parts[name] = {"anyOf": [parts[name], _ANY_FILE]}
    trainer = parts["trainer"]["anyOf"][0]["properties"]
    trainer["callbacks"] = {"anyOf": [trainer["callbacks"], _ANY_FILE]}
    for known in _classes(found):
        name = known["class_path"].pop("const")
        known["class_path"]["enum"] = [name, name.rpartition(".")[2]]
        arguments = known.get("init_args", {})
        if "params" in arguments.get("required", []):  # of an optimizer, given by whoever makes it
            del arguments["properties"]["params"]
        arguments.pop("required", None)  # a flag or another config may give it
    for properties in _having(found, "lr_scheduler"):
        properties["lr_scheduler"] = {"anyOf": [properties["lr_scheduler"], _SCHEDULE]}
    definitions = found.get("$defs", {})
    # Of torch's some hundred modules hardly any is a network by itself.
    definitions["Module"]["anyOf"] = [one for one in definitions["Module"]["anyOf"] if _is_ours(one)]
    for choice in definitions.values():
        if any("class_path" in one.get("properties", {}) for one in choice.get("anyOf", [])):
            choice["anyOf"].append(_FOREIGN)
    named = _named({key: part for key, part in found.items() if key != "$defs"}, definitions)
    found["$defs"] = {name: part for name, part in definitions.items() if name in named}
    return found


def _is_ours(choice: Schema) -> bool:
    names = choice.get("properties", {}).get("class_path", {}).get("enum", ["sparsity."])
    return str(names[0]).startswith("sparsity.")


def _named(part: Schema, definitions: Mapping[str, Schema]) -> set[str]:
    """The definitions that a schema needs, itself or through others."""
    found: set[str] = set()
    new = set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(part)))
    while new:
        found |= new
        inner = (json.dumps(definitions[name]) for name in new)
        new = {name for text in inner for name in re.findall(r'"#/\$defs/([^"]+)"', text)} - found
    return found


def _classes(part: Any) -> Iterator[Schema]:
    """Properties of all objects of a schema that name one class."""
    return (properties for properties in _having(part, "class_path") if "const" in properties["class_path"])


def _having(part: Any, name: str) -> Iterator[Schema]:
    """Properties of all objects of a schema that have one of a name."""
    if isinstance(part, dict) and name in (properties := part.get("properties", {})):
        yield properties
    children = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    for child in list(children):
        yield from _having(child, name)


def study_schema(options: list[str]) -> Schema:
    """Of a study's file: what it has, and the dotted keys that it sets.

    Args:
        options: Names of the options of `fit`.
    """
    keys: Schema = {name: {} for name in options if name not in ("help", "config", "print_config")}
    files = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    values: Schema = {"type": "array", "minItems": 1}
    either: Schema = {"anyOf": [values, {"$ref": "#/$defs/drawn"}]}
    own = {"config": values, **{name: values if name in LISTED else either for name in keys}}
    axis = {"type": "object", "minProperties": 1, "properties": own, "additionalProperties": either}
    return {
        "$schema": _DRAFT,
        "description": "A study: a grid of fits, or searches.",
        "$defs": {"drawn": _DISTRIBUTION},
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "$schema": {"type": "string"},
            "config": {**files, "description": "A base config or several, relative to this file."},
            "set": {"type": ["object", "null"], "description": "The same in all runs, by dotted key.",
                    "properties": keys},
            "axes": {"type": "array", "items": axis, "description":
                     "Lists are crossed, several keys in one entry zipped; from a distribution values are drawn."},
            "exclude": {"type": "array", "items": {"type": "object", "minProperties": 1},
                        "description": "Combinations to leave out, each by some of the axes' values."},
            "trials": {"type": "integer", "minimum": 1, "description":
                       "How many runs draw from the distributions, for each combination of the lists."},
        },
    }  # fmt: skip


def parser() -> OneSentenceParser:
    """Of the arguments of `schema`."""
    own = command_parser("schema")
    add_options_of(own, schema, given=())
    return own


def run(**arguments: Any) -> None:
    """Print a JSON schema."""
    schema(**arguments)
