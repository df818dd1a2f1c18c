import pytest

from sparsity.study.places import Place, places


def test_a_process_gets_its_share_of_threads_and_of_the_gpus_that_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert Place(3, None).all_variables["OMP_NUM_THREADS"] == "3"
    assert "CUDA_VISIBLE_DEVICES" not in Place(3, None).all_variables
    assert Place(1, 1).all_variables["CUDA_VISIBLE_DEVICES"] == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert Place(1, 1).all_variables["CUDA_VISIBLE_DEVICES"] == "6"
    assert "CUDA_VISIBLE_DEVICES" not in Place(1, None).all_variables  # and so it is as it was


def test_cores_are_dealt_out_in_blocks_and_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {1, 2, 5, 6, 9}, raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [(place.threads, place.gpu, place.cores) for place in places(3)] == [
        (1, 0, (1,)),
        (1, 1, (2, 5)),
        (1, 0, (6, 9)),
    ]


@pytest.mark.parametrize("jobs", [1, 3])
def test_one_job_or_more_jobs_than_cores_run_on_all_of_them(jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert {place.cores for place in places(jobs)} == {None}
    assert {place.gpu for place in places(jobs)} == {None}
