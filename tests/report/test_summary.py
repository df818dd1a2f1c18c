import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsity.analysis.statistics.verdict import Verdict, verdict
from sparsity.report.summary import Failure, alike, better, failed

# Seeds differ by thousandths, methods by tenths: told apart; or by nothing: not.
HIGH = {"1": 0.900, "2": 0.901, "3": 0.902}
LOW = {"1": 0.700, "2": 0.702, "3": 0.701}
MIDDLE = {"1": 0.903, "2": 0.899, "3": 0.901}


def of(**scores: dict[str, float]) -> Verdict:
    return verdict(scores)


def test_who_is_better_is_said_once_for_all_densities_it_is_so() -> None:
    found = {"10 %": of(a=HIGH, b=LOW), "5 %": of(a=HIGH, b=LOW), "2 %": of(a=HIGH, b=MIDDLE)}
    assert better(found) == "In test top-1, a is better than all others at 10 % and 5 %; no method is at 2 %."


def test_what_cannot_be_told_apart_is_counted_and_named_where_it_is_highest() -> None:
    # Of b and c in the second, c is the higher by 0.0001 in the mean, and not significantly.
    found = {"10 %": of(a=HIGH, b=LOW), "2 %": of(a=HIGH, b=MIDDLE, c=LOW)}
    assert alike(found) == (
        "Of 4 pairs of methods at one density, 3 can be told apart; of those with the highest mean, a from b at 2 % "
        "cannot."
    )


def test_nothing_significant_and_nothing_to_compare_are_said() -> None:
    assert better({"2 %": of(a=HIGH, b=MIDDLE)}).startswith("Nothing is significant")
    assert better({}).startswith("At no density are there two methods")
    assert alike({"2 %": of(a=HIGH, b=MIDDLE)}).startswith(
        "Of 1 pair of methods at one density, none can be told apart"
    )
    assert alike({}) == "There are no pairs of methods to tell apart."


@pytest.mark.filterwarnings("ignore")
@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=4), min_size=2, max_size=4))
def test_nobody_wins_where_intervals_overlap_or_are_unknown(scores: list[list[float]]) -> None:
    named = {f"m{k}": {str(seed): value for seed, value in enumerate(values)} for k, values in enumerate(scores)}
    found = verdict(named)
    won = "is better" in better({"x": found})
    best = found.intervals[found.highest]
    others = [found.intervals[name] for name in found.means if name != found.highest]
    assert not won or (best is not None and all(other is not None and not best.overlaps(other) for other in others))


def test_what_went_wrong_is_told_by_method_and_density() -> None:
    found = [
        Failure("a", "10 %", "kept 2.9 %"),
        Failure("a", "10 %", "nothing in fc1"),
        Failure("b", "2 %", "kept 3 %"),
    ]
    assert failed(found) == "What went wrong: a at 10 % (kept 2.9 % and nothing in fc1); b at 2 % (kept 3 %)."
    assert failed([]).startswith("All runs kept the density")
