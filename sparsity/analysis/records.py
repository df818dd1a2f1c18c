"""Results as plain data: dictionaries for JSON, rows for CSV.

A result is a frozen dataclass of numbers and arrays. A field marked `PER_UNIT` holds one value per unit of a layer.
"""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

PER_UNIT = {"per": "unit"}
"""Metadata of a dataclass field whose array has one entry per unit."""

Row = dict[str, str | int | float | bool | None]


def to_dict(result: Any) -> Any:
    """Turn a result into plain values that `json.dumps` accepts.

    Args:
        result: A dataclass, mapping, sequence, array or scalar, nested at will.

    Returns:
        Dataclasses and mappings as dictionaries, arrays as nested lists, NaN and infinity as None (JSON has none).
    """
    if is_dataclass(result):
        return {f.name: to_dict(getattr(result, f.name)) for f in fields(result)}
    if isinstance(result, Mapping):
        return {str(key): to_dict(value) for key, value in result.items()}
    if isinstance(result, np.ndarray | np.generic):
        return to_dict(result.tolist())
    if isinstance(result, list | tuple):
        return [to_dict(value) for value in result]
    if isinstance(result, float) and not math.isfinite(result):
        return None
    return result


def layer_rows(layers: Mapping[str, Any]) -> list[Row]:
    """One row per layer: its name and every field of its result that is a single value.

    Args:
        layers: Results by layer name, dataclasses of one kind.
    """
    return [{"layer": name, **_scalars(result)} for name, result in layers.items()]


def unit_rows(layers: Mapping[str, Any]) -> list[Row]:
    """One row per unit of every layer: layer, unit and every field of the result that holds a value per unit.

    Args:
        layers: Results by layer name, dataclasses of one kind.
    """
    rows: list[Row] = []
    for name, result in layers.items():
        columns = {f.name: to_dict(getattr(result, f.name)) for f in fields(result) if f.metadata == PER_UNIT}
        rows += [
            {"layer": name, "unit": unit, **dict(zip(columns, values, strict=True))}
            for unit, values in enumerate(zip(*columns.values(), strict=True))
        ]
    return rows


def _scalars(result: Any) -> Row:
    values = {f.name: to_dict(getattr(result, f.name)) for f in fields(result)}
    return {name: value for name, value in values.items() if value is None or isinstance(value, str | int | float)}
