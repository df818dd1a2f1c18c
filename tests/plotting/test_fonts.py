"""The font of PDF files has every letter that is asked for, and leaves no files behind."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from sparsity.plotting.files import figure_bytes
from sparsity.plotting.fonts import lean_font

USUAL = "Größe\nλ ≤ ± → Жя"


def test_usual_letters_take_a_smaller_font() -> None:
    assert lean_font(USUAL) == lean_font("")
    assert lean_font("✓") != lean_font("")


@pytest.mark.parametrize("text", [USUAL, "✓"])
def test_no_letter_is_missing_in_a_file(text: str) -> None:
    figure = Figure()
    figure.text(0.5, 0.5, text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a letter that is missing matplotlib warns
        figure_bytes(figure, "pdf")


def test_neither_a_process_nor_its_forks_leave_files(tmp_path: Path) -> None:
    code = (
        "from sparsity import forks; from sparsity.plotting.fonts import lean_font; forks.cores = lambda: 2;"
        "lean_font(''); list(forks.in_forks([lambda: lean_font('✓')] * 2)); "
        "import os, tempfile; assert os.listdir(tempfile.gettempdir())"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)}, check=True)
    assert [path.name for path in tmp_path.iterdir() if "font" in path.name] == []
