import pytest

from sparsity.formatting import mean_and_deviation, percent, percents


def test_the_deviation_is_that_of_a_sample() -> None:
    # Mean 4, squares of 2, 0, 2 over n - 1 = 2: variance 4.
    assert mean_and_deviation([2.0, 4.0, 6.0], "{:.1f}".format, " %") == "4.0 ± 2.0 %"


@pytest.mark.parametrize(("values", "words"), [([0.5], "0.50 %"), ([], "-")])
def test_one_value_has_no_deviation_and_none_is_a_dash(values: list[float], words: str) -> None:
    assert mean_and_deviation(values, "{:.2f}".format, " %") == words


def test_shares_are_percent_with_three_digits() -> None:
    assert [percent(share) for share in (1.0, 0.1, 0.0294472, 0.0005)] == ["100 %", "10 %", "2.94 %", "0.05 %"]
    assert percents([0.1, 0.1000001]) == "10 %"
    assert percents([0.05, 0.02, 0.03]) == "2 to 5 %"
