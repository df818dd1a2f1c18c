import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sparsity.errors import SparsityError
from sparsity.study.distributions import Choices, Range
from sparsity.study.grid import Point
from sparsity.study.trials import STARTUP, Search, Trials

pytest.importorskip("optuna", reason='needs pip install -e ".[search]"')
DRAWN = {"lr": Range(1e-4, 1.0, log=True), "width": Range(50, 400, step=50), "nesterov": Choices((True, False))}


def search(name: str = "SynFlow-0.1") -> Search:
    return Search(name, Point({"pruner": name}, (), {}, DRAWN, 20))


def accuracy(values: Mapping[str, Any]) -> float:
    return 1 - abs(values["lr"] - 0.1) - values["width"] / 1000


def drawn(trials: Trials, one: Search, count: int) -> list[Mapping[str, Any]]:
    found = []
    for _ in range(count):
        trial = trials.ask(one)
        trials.finish(trial, accuracy(trial.values))
        found.append(trial.values)
    return found


def test_values_lie_in_their_distributions_and_are_those_that_are_kept(tmp_path: Path) -> None:
    one = search()
    values = drawn(Trials.open(tmp_path / "journal", [one]), one, 15)
    assert all(1e-4 <= each["lr"] <= 1 and each["width"] in range(50, 401, 50) for each in values)
    assert {each["nesterov"] for each in values} == {True, False}
    assert len({each["lr"] for each in values}) == 15
    ended = Trials.read(tmp_path / "journal", [one]).ended(one)
    assert [trial.values for trial in ended] == values
    assert [trial.accuracy for trial in ended] == [accuracy(each) for each in values]
    assert {trial.state for trial in ended} == {"finished"}


def test_the_same_is_drawn_however_often_the_process_ends_in_between(tmp_path: Path) -> None:
    one = search()
    expected = drawn(Trials.open(tmp_path / "whole", [one]), one, 14)
    found: list[Mapping[str, Any]] = []
    while len(found) < 14:
        trials = Trials.open(tmp_path / "broken", [one])
        found += drawn(trials, one, 3 if len(found) < 12 else 2)
        if len(found) < 14:
            left = trials.ask(one)  # and its process is killed
            assert left.values == expected[len(found)]
    assert found == expected


def test_what_was_left_is_drawn_first_and_counts_once(tmp_path: Path) -> None:
    one = search()
    trials = Trials.open(tmp_path / "journal", [one])
    drawn(trials, one, 2)
    left = trials.ask(one)
    trials.set_folder(left, "its-folder")
    assert (len(trials.ended(one)), trials.interrupted(one)) == (2, 1)
    again = Trials.open(tmp_path / "journal", [one])
    assert (len(again.ended(one)), again.interrupted(one)) == (2, 1)
    assert again.ask(one).values == left.values


def test_searches_of_other_axes_draw_other_values(tmp_path: Path) -> None:
    one, other = search(), search("Random-0.1")
    trials = Trials.open(tmp_path / "journal", [one, other])
    assert trials.ask(one).values != trials.ask(other).values


def test_to_look_at_a_journal_leaves_everything_as_it_is(tmp_path: Path) -> None:
    assert Trials.read(tmp_path / "journal", [search()]).ended(search()) == []
    assert list(tmp_path.iterdir()) == []
    trials = Trials.open(tmp_path / "journal", [search()])
    trials.ask(search())
    before = (tmp_path / "journal").read_bytes()
    assert Trials.read(tmp_path / "journal", [search(), search("other")]).interrupted(search()) == 1
    assert (tmp_path / "journal").read_bytes() == before


@pytest.fixture
def judged(tmp_path: Path) -> Callable[..., bool]:
    """Whether a trial is below others, whose accuracies after four epochs are given."""

    def judge(others: list[float], own: list[float], warm_up: int = 4) -> bool:
        one = search()
        trials = Trials.open(tmp_path / "journal", [one])
        for value in others:
            trial = trials.ask(one)
            for epochs in range(1, 5):
                assert not trials.is_below(trial, epochs, value, warm_up)
            trials.finish(trial, value)
        trial = trials.ask(one)
        return [trials.is_below(trial, epochs, value, warm_up) for epochs, value in enumerate(own, 1)][-1]

    return judge


FIVE = [0.5, 0.6, 0.7, 0.8, 0.9]  # the median is 0.7


@pytest.mark.parametrize(
    ("others", "own", "below"),
    [
        (sorted(FIVE), [0.0, 0.0, 0.0, 0.69], True),
        (sorted(FIVE), [0.0, 0.0, 0.0, 0.71], False),
        (sorted(FIVE), [0.0, 0.72, 0.0, 0.0], False),  # its best so far counts
        (sorted(FIVE), [0.0, 0.0, 0.0], False),  # the warm-up
        (sorted(FIVE), [0.9, 0.0, 0.0, 0.0, 0.0], False),  # nobody has come so far
        (sorted(FIVE)[1:], [0.0, 0.0, 0.0, 0.0], False),  # too few
    ],
)
def test_a_trial_is_below_where_its_best_is_less_than_the_median_of_five_or_more(
    others: list[float], own: list[float], below: bool, judged: Callable[..., bool]
) -> None:
    assert len(FIVE) == STARTUP
    assert judged(others, own) == below


def test_one_that_ended_early_is_kept_with_the_epochs_that_it_was_judged_by(tmp_path: Path) -> None:
    trials = Trials.open(tmp_path / "journal", [search()])
    trial = trials.ask(search())
    trials.is_below(trial, 7, 0.1, warm_up=1)
    trials.end_early(trial)
    (ended,) = trials.ended(search())
    assert (ended.state, ended.epochs, ended.accuracy) == ("ended early", 7, None)


def test_what_a_killed_process_left_half_done_is_taken_away(tmp_path: Path) -> None:
    journal, one = tmp_path / "journal", search()
    expected = drawn(Trials.open(journal, [one]), one, 2)
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    (tmp_path / "journal.lock").touch()
    trials = Trials.open(journal, [one])
    assert [trial.values for trial in trials.ended(one)] == expected
    drawn(trials, one, 1)
    assert len(Trials.read(journal, [one]).ended(one)) == 3


@pytest.mark.parametrize("text", ["no journal\n{}\n", '{"op_code": 0}\n{}\n', "[]\n1\n"])
def test_a_damaged_journal_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "journal").write_text(text)
    with pytest.raises(SparsityError, match=r"journal is damaged: .*; move it away") as caught:
        Trials.open(tmp_path / "journal", [search()])
    assert "\n" not in str(caught.value)


def test_without_optuna_it_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SparsityError, match=r'pip install -e "\.\[search\]"'):
        Trials.read(tmp_path / "journal", [search()])
