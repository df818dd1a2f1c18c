"""What was made for an output that does not come is taken back, and nothing else is."""

from pathlib import Path

import pytest

from sparsity.atomic import folders_taken_back, missing_folders, new_folder, remove_empty


def test_folders_that_are_missing_come_from_the_inside_out(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert missing_folders(tmp_path / "a") == []
    assert missing_folders(tmp_path / "a" / "b" / "c") == [tmp_path / "a" / "b" / "c", tmp_path / "a" / "b"]


def test_empty_folders_are_removed_up_to_the_first_that_is_not(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "file").touch()
    remove_empty([tmp_path / "a" / "b" / "c" / "never made", tmp_path / "a" / "b" / "c", tmp_path / "a" / "b",
                  tmp_path / "a", tmp_path])  # fmt: skip
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", tmp_path / "a" / "file"]


@pytest.mark.parametrize("error", [OSError("no room"), KeyboardInterrupt()])
def test_folders_are_taken_back_if_anything_is_raised(error: BaseException, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()

    def fail() -> None:
        with folders_taken_back(tmp_path / "there" / "a" / "b"):
            (tmp_path / "there" / "a" / "b").mkdir(parents=True)
            raise error

    with pytest.raises(type(error)):
        fail()
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_they_stay_if_all_goes_well_or_somebody_else_uses_them(tmp_path: Path) -> None:
    with folders_taken_back(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b").mkdir(parents=True)
    assert (tmp_path / "a" / "b").is_dir()

    def fail() -> None:
        with folders_taken_back(tmp_path / "c" / "d"):
            (tmp_path / "c" / "d").mkdir(parents=True)
            (tmp_path / "c" / "theirs").touch()
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        fail()
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["theirs"]


def test_a_new_folder_that_fails_leaves_none_of_those_above_it(tmp_path: Path) -> None:
    def fail() -> None:
        with new_folder(tmp_path / "a" / "b" / "c") as folder:
            (folder / "half").touch()
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        fail()
    assert list(tmp_path.iterdir()) == []
