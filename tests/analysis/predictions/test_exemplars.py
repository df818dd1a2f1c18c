import pytest
import torch

from sparsity.analysis.predictions.exemplars import pruning_identified_exemplars
from sparsity.errors import SparsityError


def test_images_whose_modal_prediction_changes_are_found() -> None:
    dense = [torch.tensor(said) for said in ([0, 1, 2, 3], [0, 1, 2, 0], [5, 1, 2, 3])]
    pruned = [torch.tensor(said) for said in ([0, 1, 7, 3], [0, 4, 7, 3], [0, 4, 2, 3])]
    found = pruning_identified_exemplars(dense, pruned)
    assert found.images.tolist() == [1, 2]
    assert found.dense.tolist() == [1, 2]
    assert found.pruned.tolist() == [4, 7]


def test_the_same_networks_disagree_on_nothing() -> None:
    said = [torch.tensor([0, 1, 2])] * 3
    assert not len(pruning_identified_exemplars(said, said).images)


def test_too_few_networks_are_refused() -> None:
    said = [torch.tensor([0])]
    with pytest.raises(SparsityError, match="need 3 dense and 3 pruned networks of several seeds, not 1 and 3"):
        pruning_identified_exemplars(said, said * 3)
