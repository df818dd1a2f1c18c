"""A report's figures, drawn side by side: files, and parts of the page.

Importing this module imports matplotlib.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sparsity.analysis.comparison.results import Comparison
from sparsity.forks import in_forks
from sparsity.plotting.catalogue import SECTIONS
from sparsity.plotting.files import figure_bytes, small_png
from sparsity.plotting.fonts import lean_font
from sparsity.plotting.inline import inline_svg
from sparsity.report.figures import Drawing, drawings
from sparsity.report.networks import Repeats, Setting
from sparsity.report.page import Section, columns, figure, figures
from sparsity.report.properties import Properties
from sparsity.tracking import tracked

_LARGEST_SVG = 150_000
"""Characters; of larger figures, which have many violins, pixels take less room."""


def sections_of_figures(
    settings: Mapping[Setting, Repeats],
    comparisons: Mapping[Setting, Comparison],
    told: Properties,
    folder: Path,
    before: Mapping[str, list[str]],
) -> list[Section]:
    """Draw all figures of a report and save them as PDF.

    Args:
        settings: The networks.
        comparisons: Of the settings that have two networks or more.
        told: Of the settings that have runs enough.
        folder: For the files.
        before: By section, blocks that stand before its figures.

    Returns:
        All sections that have figures, those of one kind together.
    """
    owners = {name: method for repeats in settings.values() for method, runs in repeats.items()
              for name in (method, *(run.name for run in runs))}  # fmt: skip
    lean_font("")  # made once, and not in each fork
    kinds: dict[tuple[str | None, str, str], list[str]] = defaultdict(list)
    taken = Counter[str]()
    planned = drawings(settings, comparisons, told)
    tasks = [partial(_rendered, drawing, owners, f"f{number}-") for number, drawing in enumerate(planned)]
    for drawing, files in zip(planned, tracked(in_forks(tasks), "figures", len(tasks)), strict=True):
        if files is None:
            continue
        spec = drawing.spec
        taken.update([drawing.name])
        pdf = f"{drawing.name}{f'_{taken[drawing.name]}' if taken[drawing.name] > 1 else ''}.pdf"
        (folder / pdf).write_bytes(files.pdf)
        shown = figure(files.html, spec.title, drawing.label, pdf, drawing.density)
        kinds[spec.section, spec.title, spec.caption].append(shown)
    drawn: dict[str | None, list[str]] = defaultdict(list)
    for (section, title, caption), together in kinds.items():
        drawn[section].append(figures(title, caption, together))
    return [
        Section(key, heading, [*before.get(key, []), *([columns(drawn[key])] if drawn[key] else [])])
        for key, heading in SECTIONS.items()
    ]


class _Files(NamedTuple):
    """A figure, drawn.

    Args:
        pdf: A file.
        html: A part of the page.
    """

    pdf: bytes
    html: str


def _rendered(drawing: Drawing, owners: Mapping[str, str], prefix: str) -> _Files | None:
    """Draw a figure; None if there is nothing to see."""
    made = drawing.draw()
    if made is None:
        return None
    name = f"{drawing.spec.title}, {drawing.label}"
    inline = partial(inline_svg, figure_bytes(made, "svg"), prefix, owners, name)
    html = inline()
    if len(html) > _LARGEST_SVG:
        html = inline(picture=small_png(made))
    return _Files(figure_bytes(made, "pdf"), html)
