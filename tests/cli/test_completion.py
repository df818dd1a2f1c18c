import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("shtab")
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    from sparsity.cli.completion import completion

    folder = tmp_path_factory.mktemp("completion")
    with pytest.MonkeyPatch.context() as patch:
        printed: list[str] = []
        patch.setattr("builtins.print", printed.append)
        completion("bash")
    (folder / "script").write_text(printed[0])
    return folder / "script"


def completed(script: Path, *words: str) -> list[str]:
    """What bash offers for the last of some words."""
    listed = " ".join(f"'{word}'" for word in ("sparsity", *words))
    text = f'source {script}; COMP_WORDS=({listed}); COMP_CWORD={len(words)}; _shtab_sparsity; echo "${{COMPREPLY[@]}}"'
    return subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=60).stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fi"], ["fit"]),
        (["ben"], ["benchmark"]),
        (["fit", "--pruner.densit"], ["--pruner.density"]),
        (["fit", "--trainer.max_ep"], ["--trainer.max_epochs"]),
        (["fit", "--pruner", "Ri"], ["RigL"]),
        (["fit", "--model.network", "ResNet2"], ["ResNet20"]),
        (["export", "--compac"], ["--compact"]),
        (["study", "--job"], ["--jobs"]),
    ],
)
def test_bash_completes(words: list[str], expected: list[str], script: Path) -> None:
    assert completed(script, *words) == expected


def test_every_command_and_every_pruner_is_offered_and_no_base_class(script: Path) -> None:
    from sparsity.cli import COMMANDS

    assert set(completed(script, "")) >= {*COMMANDS, "fit", "validate", "test", "predict"}
    pruners = completed(script, "fit", "--pruner", "")
    assert {"SynFlow", "GemMiner", "RigL", "MaskFrom"} <= set(pruners)
    assert not {"PruningCallback", "ScoreSearch", "PruneBeforeTraining"} & set(pruners)


def test_without_shtab_it_is_one_sentence(sparsity: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "shtab", None)
    outcome = sparsity("completion", "bash")
    assert outcome.code == 2
    assert "pip install shtab" in outcome.err
