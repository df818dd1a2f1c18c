"""Text that stands for more than anybody means is refused at once."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparsity.runs.yaml_files import MOST_NODES, load_yaml, load_yaml_without_aliases, reason_of, require_bounded

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [(BOMB, "stand for more than 10,000 values"), ("&a [*a]", "stand for more"), ("[" * 3000, "nested too deeply")],
    ids=["bomb", "of itself", "nested"],
)
def test_what_stands_for_too_much_is_refused_at_once(text: str, message: str) -> None:
    start = time.perf_counter()
    with pytest.raises(yaml.YAMLError, match=message):
        load_yaml(text)
    assert time.perf_counter() - start < 5


def test_aliases_that_stand_for_little_are_written_out() -> None:
    assert load_yaml("a: &a [1, 2]\nb: [*a, *a]") == {"a": [1, 2], "b": [[1, 2], [1, 2]]}
    with pytest.raises(yaml.YAMLError, match="it has an alias"):
        load_yaml_without_aliases("a: &a 1\nb: *a")
    assert load_yaml_without_aliases("a: '*b & c'") == {"a": "*b & c"}


def test_a_ratio_is_text_and_not_a_number_in_base_60() -> None:
    assert load_yaml("a: 2:4\nb: [1:16, 12]\nc: 'x'") == {"a": "2:4", "b": ["1:16", 12], "c": "x"}
    assert load_yaml("a: 20\nb: 1.5\nc: 0x1F\nd: -3") == {"a": 20, "b": 1.5, "c": 31, "d": -3}
    assert yaml.safe_load("2:4") == 124  # others' loaders are left alone


def test_the_bound_counts_what_is_written_out() -> None:
    items = ", ".join(["1"] * (MOST_NODES // 2 - 3))
    require_bounded(f"a: &a [{items}]\nb: *a")  # 5 for the mapping, its keys and lists, and twice 4,997
    with pytest.raises(yaml.YAMLError):
        require_bounded(f"a: &a [{items}, 1]\nb: *a")


@pytest.mark.parametrize("text", [BOMB, "&a [*a]", "[" * 3000 + "]" * 3000], ids=["bomb", "of itself", "nested"])
@pytest.mark.parametrize("command", ["fit", "study", "study of it", "report"])
def test_no_command_is_kept_busy(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text(text)
    Path("study.yaml").write_text("config: run.yaml\naxes: [{seed_everything: [1, 2]}]")
    Path("version_0").mkdir()
    Path("version_0/config.yaml").write_text(text)
    Path("version_0/summary.json").write_text("{}")
    arguments = {
        "fit": ["fit", "--config", "run.yaml"],
        "study": ["study", "--config", "run.yaml"],
        "study of it": ["study", "--config", "study.yaml"],
        "report": ["report", "version_0", "--output", "out"],
    }[command]
    start = time.perf_counter()
    outcome = sparsity(*arguments)
    assert outcome.code == 2
    assert sum(line.startswith("error: ") for line in outcome.err.splitlines()) == 1
    assert time.perf_counter() - start < 10


def test_a_key_that_stands_twice_is_refused_with_its_line() -> None:
    with pytest.raises(yaml.YAMLError) as error:
        load_yaml("a: 1\nb:\n  c: 1\n  c: 2")
    assert reason_of(error.value) == "line 4: the key 'c' stands a second time"
    assert load_yaml("a: &a {c: 1}\nb: {<<: *a, c: 2}") == {"a": {"c": 1}, "b": {"c": 2}}
    assert load_yaml("a: {c: 1}\nb: {c: 2}\n1: 1\n'1': 2")["1"] == 2


def test_why_a_text_is_no_yaml_comes_with_its_line_where_one_is_known() -> None:
    with pytest.raises(yaml.YAMLError) as error:
        load_yaml("a: 1\n b: 2")
    assert reason_of(error.value) == "line 2: mapping values are not allowed here"
    assert reason_of(yaml.YAMLError("it is\n odd")) == "it is odd"
