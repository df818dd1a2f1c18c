from collections.abc import Callable
from pathlib import Path

import pytest

from sparsity.errors import SparsityError
from sparsity.report.sources import find_sources, name_parts

SaveRun = Callable[..., Path]


def test_every_run_below_a_folder_is_found_once_in_the_order_of_its_number(save_run: SaveRun, tmp_path: Path) -> None:
    folders = [save_run(f"version_{number}", seed=number) for number in (2, 10, 1)]
    found = find_sources([str(tmp_path), str(tmp_path / "runs"), str(folders[0])], "best")
    assert [source.path.name for source in found.finished] == ["version_1", "version_2", "version_10"]
    assert [source.seed for source in found.finished] == ["1", "2", "10"]
    assert found.unfinished == ()


def test_a_run_says_what_was_asked_and_what_came_out(save_run: SaveRun, tmp_path: Path) -> None:
    folder = save_run("version_0", method="SynFlow", asked=0.05, seed=7, accuracy=0.9)
    (best,) = find_sources([str(tmp_path)], "best").finished
    (last,) = find_sources([str(tmp_path)], "last").finished
    assert (best.method, best.asked, best.seed, best.accuracy) == ("SynFlow", 0.05, "7", 0.9)
    assert best.checkpoint == folder / "checkpoints" / "best.ckpt"
    assert (last.checkpoint.name, last.accuracy) == ("last.ckpt", pytest.approx(0.8))


def test_sessions_of_a_resumed_run_are_one_run_even_after_it_was_moved(save_run: SaveRun, tmp_path: Path) -> None:
    first = save_run("version_0", finished=False)
    second = save_run("version_1", finished=False, ckpt_path="elsewhere/version_0/checkpoints/last.ckpt")
    third = save_run("version_2", ckpt_path="elsewhere/version_1/checkpoints/last.ckpt")
    found = find_sources([str(tmp_path)], "best")
    (source,) = found.finished
    assert source.sessions == (first, second, third)
    assert found.unfinished == ()


def test_a_finished_run_that_went_on_is_not_counted_twice(save_run: SaveRun, tmp_path: Path) -> None:
    save_run("version_0")
    longer = save_run("version_1", ckpt_path="version_0/checkpoints/last.ckpt")
    (source,) = find_sources([str(tmp_path)], "best").finished
    assert source.path == longer


def test_unfinished_runs_are_named_by_their_last_attempt_unless_another_one_finished(
    save_run: SaveRun, tmp_path: Path
) -> None:
    save_run("version_0", seed=1, finished=False)
    save_run("version_1", seed=1)  # begun anew, finished
    save_run("version_2", seed=2, finished=False)
    save_run("version_3", seed=3, finished=False)
    again = save_run("version_4", seed=2, finished=False)
    found = find_sources([str(tmp_path)], "best")
    assert [source.path.name for source in found.finished] == ["version_1"]
    assert [folder.name for folder in found.unfinished] == ["version_3", "version_4"]
    assert found.unfinished[1] == again


def test_a_runs_checkpoint_stands_for_the_run(save_run: SaveRun) -> None:
    folder = save_run("version_0", method="SynFlow", accuracy=0.9)
    (source,) = find_sources([str(folder / "checkpoints" / "best.ckpt")], "last").finished
    assert (source.method, source.accuracy, source.path) == ("SynFlow", 0.9, folder)


@pytest.mark.parametrize(
    ("stem", "parts"),
    [
        ("synflow_10_21", ("synflow", "10", "21")),
        ("gem_miner_10_21_before_finetune", ("gem_miner_before_finetune", "10", "21")),
        ("dense_21", ("dense", "", "21")),
        ("resnet20", ("resnet20", "", "")),
        ("best", ("best", "", "")),
    ],
)
def test_a_files_name_gives_a_label_of_method_family_and_seed(stem: str, parts: tuple[str, str, str]) -> None:
    assert name_parts(stem) == parts


def test_nothing_there_or_nothing_finished_is_one_sentence(save_run: SaveRun, tmp_path: Path) -> None:
    with pytest.raises(SparsityError, match=r"there is no file or folder .*nowhere"):
        find_sources([str(tmp_path / "nowhere")], "best")
    with pytest.raises(SparsityError, match=r"no finished run below .*: a run is a folder with a config\.yaml"):
        find_sources([str(tmp_path)], "best")
    save_run("version_0", finished=False)
    with pytest.raises(SparsityError, match=r"version_0 has no summary\.json"):
        find_sources([str(tmp_path)], "best")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("summary.json", "{"),
        ("summary.json", "[]"),
        ("summary.json", "{}"),
        ("config.yaml", "a: ["),
        ("config.yaml", "- 1"),
    ],
)
def test_a_damaged_file_of_a_run_is_one_sentence(save_run: SaveRun, tmp_path: Path, file: str, text: str) -> None:
    (save_run("version_0") / file).write_text(text)
    with pytest.raises(SparsityError, match=rf"version_0/{file} is .*; move that folder away"):
        find_sources([str(tmp_path)], "best")
