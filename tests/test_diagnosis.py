import errno

import pytest
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import nn

from sparsity.diagnosis import blaming, sentence_of
from sparsity.errors import SparsityError
from sparsity.networks import FC


def caught(action: object, *arguments: object, **options: object) -> BaseException:
    with pytest.raises(Exception) as info:  # noqa: PT011 - which one is what the test is about
        action(*arguments, **options)  # type: ignore[operator]
    return info.value


def test_our_own_errors_and_lightnings_are_mistakes_also_behind_others() -> None:
    assert sentence_of(SparsityError("this is\nwrong")) == "this is wrong"
    error = TypeError("something else")
    error.__cause__ = MisconfigurationException("that is wrong")
    assert sentence_of(error) == "that is wrong"


def test_what_a_library_refuses_is_a_mistake_and_what_it_fails_at_is_none() -> None:
    refused = caught(torch.optim.SGD, [nn.Parameter(torch.zeros(1))], lr=-1)
    assert sentence_of(refused) == "Invalid learning rate: -1"
    optimizer = torch.optim.Adagrad(nn.Linear(2, 2).parameters(), differentiable=None)  # type: ignore[arg-type]
    assert "must be bool, not NoneType" in str(sentence_of(caught(optimizer.step)))
    failed = caught(nn.Linear(2, 2), torch.zeros(1, 3))
    assert sentence_of(failed) is None
    assert sentence_of(caught(lambda: [][0])) is None
    wrong_loss = caught(torch.optim.SGD(nn.Linear(2, 2).parameters()).step, lambda: nn.Linear(2, 2)(torch.zeros(1, 3)))
    assert sentence_of(wrong_loss) is None


def test_errors_of_the_disk_name_the_file() -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "a/last.ckpt")
    assert sentence_of(error) == "cannot write a/last.ckpt: No space left on device; make room, or write elsewhere"
    assert sentence_of(OSError(errno.ECHILD, "No child processes")) is None


def test_what_is_made_as_configured_is_blamed_on_the_configuration() -> None:
    def make() -> None:
        with blaming("the network"):
            nn.Linear(-1, 2)

    assert str(caught(make)).startswith("Linear: ")
    with pytest.raises(SparsityError, match="the numbers: division by zero"), blaming("the numbers"):
        1 / 0  # noqa: B018
    with pytest.raises(SparsityError, match=r"^an FC network needs"), blaming("the network"):
        FC((4,), width=0)


def test_an_error_of_this_package_is_not_blamed_on_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsity.networks.fc.initialise_weights", None)
    with pytest.raises(TypeError, match="not callable"), blaming("the network"):
        FC((4,))
