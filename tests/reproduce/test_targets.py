from collections import Counter
from pathlib import Path

import pytest

from sparsity.errors import SparsityError
from sparsity.reproduce.targets import groups_of, read_targets
from sparsity.study.grid import read_grid

ROOT = Path(__file__).parent.parent.parent
TARGETS = read_targets(ROOT / "reproduce" / "targets.csv")
HEAD = (
    "group,network,data,method,kind,density,accuracy,spread,spread_is,runs,epochs,source,select,epoch,cpu_minutes,"
    "gpu_minutes,note\n"
)
ROW = "g,FC,MNIST,RigL,same,0.1,95.0,,,,1,here,pruner=RigL;pruner.density=0.1,last,1,1,\n"


def test_there_are_as_many_figures_as_one_can_stand_on_each_with_its_source() -> None:
    assert len(TARGETS) >= 40
    assert all(target.source and 0 < target.density <= 1 and 0 < target.accuracy < 100 for target in TARGETS)
    assert all((target.spread is None) == (target.spread_is == "") for target in TARGETS)


@pytest.mark.parametrize("group", groups_of(TARGETS, ()))
def test_every_figure_selects_three_runs_of_its_groups_study(group: str) -> None:
    points = read_grid(ROOT / "configs" / "studies" / f"{group}.yaml")
    for target in TARGETS:
        if target.group == group:
            chosen = [point for point in points if target.stands_for(point)]
            assert Counter(point.axes["seed_everything"] for point in chosen) == {"21": 1, "42": 1, "63": 1}, target
            assert {point.axes.get("pruner.density", "none") for point in chosen} <= {f"{target.density:g}", "none"}


def test_a_row_is_read_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "targets.csv"
    path.write_text(HEAD + ROW)
    (target,) = read_targets(path)
    assert (target.accuracy, target.spread, target.runs) == (95.0, None, None)
    assert target.select == {"pruner": "RigL", "pruner.density": "0.1"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD.replace("note", "remark") + ROW, r"the columns of .* are .*remark, not group"),
        (HEAD + ROW.replace("same", "alike"), r"row 2: kind is 'same' or 'near', not 'alike'"),
        (HEAD + ROW + ROW.replace("95.0", "many"), r"row 3: accuracy is a number, not 'many'"),
        (HEAD + ROW.replace("pruner=RigL;", "RigL;"), r"select is axis=value;axis=value, not 'RigL;pruner"),
    ],
)
def test_a_wrong_row_is_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "targets.csv"
    path.write_text(text)
    with pytest.raises(SparsityError, match=message):
        read_targets(path)


def test_a_table_that_is_not_there_says_where_to_run_this(tmp_path: Path) -> None:
    with pytest.raises(SparsityError, match="run this in a clone of the project"):
        read_targets(tmp_path / "targets.csv")


def test_groups_come_in_the_order_of_the_table_and_wrong_ones_are_named() -> None:
    names = groups_of(TARGETS, ())
    assert groups_of(TARGETS, [names[2], names[0]]) == [names[0], names[2]]
    with pytest.raises(SparsityError, match=f"there is no group 'x' of published figures; there are {names[0]}, "):
        groups_of(TARGETS, ["x"])
