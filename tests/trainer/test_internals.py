"""What other packages keep to themselves is what it is taken for."""

from collections.abc import Callable
from typing import Any

import pytest
from torch.nn.modules import module

from sparsity.trainer.internals import has_global_hooks


@pytest.mark.parametrize(
    "register",
    [
        module.register_module_forward_pre_hook,
        module.register_module_forward_hook,
        module.register_module_full_backward_pre_hook,
        module.register_module_full_backward_hook,
    ],
)
def test_hooks_of_all_modules_are_seen(register: Callable[..., Any]) -> None:
    assert not has_global_hooks()
    handle = register(lambda *_: None)
    assert has_global_hooks()
    handle.remove()
    assert not has_global_hooks()
