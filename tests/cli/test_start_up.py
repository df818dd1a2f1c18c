import subprocess
import sys

HEAVY = {"matplotlib", "networkx", "pandas", "ray", "sklearn", "tensorboard"}


def test_the_command_line_imports_nothing_heavy_that_lightning_does_not() -> None:
    program = (
        "import sys, pytorch_lightning; before = set(sys.modules); import sparsity.cli; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "sparsity" in loaded
    assert not loaded & HEAVY
