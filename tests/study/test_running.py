import pytest

from sparsity.study.running import environment


def test_a_process_gets_its_share_of_threads_and_of_the_gpus_that_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert environment(3, None)["OMP_NUM_THREADS"] == "3"
    assert "CUDA_VISIBLE_DEVICES" not in environment(3, None)
    assert environment(1, 1)["CUDA_VISIBLE_DEVICES"] == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert environment(1, 1)["CUDA_VISIBLE_DEVICES"] == "6"
    assert environment(1, None)["CUDA_VISIBLE_DEVICES"] == "4,6"
