from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsity.runs.curves import held, read_curves, stitched

curves = st.dictionaries(st.integers(1, 50), st.floats(0, 1)).map(lambda curve: dict(sorted(curve.items())))


def test_what_a_resumed_session_did_again_replaces_what_was_lost() -> None:
    assert stitched({1: 0.1, 2: 0.2, 3: 0.3}, {3: 0.31, 4: 0.4}) == {1: 0.1, 2: 0.2, 3: 0.31, 4: 0.4}
    # Epoch 4 was lost with the crash, and the new session has not reached it.
    assert stitched({2: 0.2, 3: 0.3, 4: 0.9}, {3: 0.31}) == {2: 0.2, 3: 0.31}


@given(curves, curves)
def test_a_stitched_curve_is_in_order_and_ends_as_the_newer_one(older: dict, newer: dict) -> None:
    found = stitched(older, newer)
    assert list(found) == sorted(found)
    assert all(found[epoch] == value for epoch, value in newer.items())
    assert stitched(found, {}) == stitched({}, found) == found


def test_epochs_are_counted_from_one_over_all_sessions(save_run: Callable[..., Path]) -> None:
    first = save_run("version_0", curve={0: 0.25, 1: 0.5, 2: 0.75})
    second = save_run("version_1", curve={1: 0.625, 2: 0.875})
    found = read_curves([first, second])
    assert found == {"val/accuracy": pytest.approx({1: 0.25, 2: 0.625, 3: 0.875})}
    assert list(found["val/accuracy"]) == [1, 2, 3]


def test_a_run_without_events_has_no_curves(tmp_path: Path) -> None:
    assert read_curves([tmp_path]) == {}
    assert read_curves([]) == {}


def test_a_file_that_was_cut_off_gives_what_is_whole(save_run: Callable[..., Path]) -> None:
    folder = save_run("version_0", curve={0: 0.25, 1: 0.5, 2: 0.75})
    (events,) = folder.glob("events.out.tfevents.*")
    events.write_bytes(events.read_bytes()[:-5])
    assert read_curves([folder]) == {"val/accuracy": pytest.approx({1: 0.25, 2: 0.5})}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({0: 1.0}, {9: 1.0, 19: 1.0}),
        ({0: 1.0, 10: 0.5}, {9: 0.5, 19: 0.5}),  # logged at the end of the epoch's last step
        ({0: 1.0, 11: 0.5}, {9: 1.0, 19: 0.5}),
        ({11: 0.5, 15: 0.25}, {19: 0.25}),
        ({}, {}),
    ],
)
def test_a_number_that_is_logged_when_it_changes_holds_until_then(
    changes: dict[int, float], expected: dict[int, float]
) -> None:
    assert held(changes, [9, 19]) == expected
