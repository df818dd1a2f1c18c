"""The font of PDF files: matplotlib's own without its layout tables, whose parsing takes most of a small PDF's time."""

import shutil
import tempfile
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path

from fontTools.subset import Options, Subsetter  # type: ignore[import-untyped]
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]
from matplotlib import font_manager

_LAYOUT = ("GDEF", "GPOS", "GSUB", "MATH", "kern", "FFTM")
_FAMILY_NAMES = (1, 4, 16)
_USUAL = (range(0x0530), range(0x1E00, 0x2300), range(0x25A0, 0x2600))
"""Latin, Greek and Cyrillic, signs and operators."""


def lean_font(text: str) -> str:
    """A family with the letters of DejaVu Sans and no rules to place pairs of them, for `font.sans-serif`.

    Args:
        text: That is to be set; if its letters are usual ones, the family has no others, which is faster still.
    """
    return _family(all(any(ord(letter) in letters for letters in _USUAL) for letter in set(text)))


@cache
def _family(usual: bool) -> str:
    """Normal and bold, made once in a process; every PDF then takes less than half its time."""
    family = f"DejaVu Sans lean {'usual' if usual else 'all'}"
    folder = tempfile.mkdtemp(prefix="sparsity-font-")
    # Unlike what atexit has, also in a fork that was made for a task, and there without what its parent has.
    Finalize(None, shutil.rmtree, (folder,), {"ignore_errors": True}, exitpriority=0)
    for weight in ("normal", "bold"):
        file = str(Path(folder) / f"{weight}.ttf")
        found = font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans", weight=weight))
        # As old as the original: a time of its own would be in every PDF.
        with TTFont(found, recalcTimestamp=False) as font:
            for table in _LAYOUT:
                if table in font:
                    del font[table]
            if usual:
                subset = Subsetter(Options(notdef_outline=True, name_IDs=["*"], glyph_names=True))
                subset.populate(unicodes=[letter for letters in _USUAL for letter in letters])
                subset.subset(font)
            for name in font["name"].names:
                if name.nameID in _FAMILY_NAMES:
                    name.string = family
            font.save(file)
        font_manager.fontManager.addfont(file)
    return family
