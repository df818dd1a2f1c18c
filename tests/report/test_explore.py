"""What a reader does with a page, in a headless Chromium."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sparsity.plotting.curves import accuracy_density_figure
from sparsity.plotting.files import figure_bytes
from sparsity.plotting.inline import inline_svg
from sparsity.plotting.matrices import matrix_figure
from sparsity.plotting.violins import violin_figure
from sparsity.report.page import Choices, Section, columns, figure, figures, page, table
from sparsity.report.tables import Table, Whose

if TYPE_CHECKING:
    from playwright.sync_api import Page

OpenPage = Callable[..., "Page"]

EVIL = "<script>document.title='broken'</script>"
METHODS = ("a b", EVIL)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods at two densities: a table, accuracies, violins and a matrix at each density."""
    owners = {name: name for name in METHODS} | {"run 1": METHODS[0], "run 2": METHODS[1]}
    points = {METHODS[0]: [(0.1, 0.8), (0.1, 0.9), (0.02, 0.5)], EVIL: [(0.1, 0.7)]}
    sample = {name: {"fc1": np.arange(9.0) + k, "fc2": np.arange(9.0)} for k, name in enumerate(METHODS)}
    matrix = np.array([[0.0, 0.25], [0.25, 0.0]])
    drawn = [(accuracy_density_figure(points), None)]
    for density in (0.1, 0.02):
        drawn += [(violin_figure(sample, "gap"), density), (matrix_figure(matrix, ["run 1", "run 2"], "IoU"), density)]
    shown = [
        figure(inline_svg(figure_bytes(one, "svg"), f"f{k}-", owners, "seen"), "t", "label", "x.pdf", density)
        for k, (one, density) in enumerate(drawn)
    ]
    rows = [[METHODS[k % 2], text, word] for k, (text, word) in enumerate(
        [("9.5 %", "x"), ("10.25 ± 1.00 %", "y"), ("-", "x"), ("1,000", "y"), ("0.5", "x"), ("2e-3", "y"), ("-7", "x")]
    )]  # fmt: skip
    whose = [Whose((row[0],), 0.1 if row[2] == "x" else 0.02) for row in rows]
    content = Table("numbers", ["method", "value", "word"], rows, ["method", "word"], whose)
    blocks = [table(content), columns([figures("kind", "how", shown)])]
    choices = Choices(METHODS, (0.1, 0.02), ("fc1", "fc2"))
    file = tmp_path_factory.mktemp("page") / "index.html"
    file.write_text(page("Title", ["lead"], [Section("all", "All", blocks)], "foot", choices), encoding="utf-8")
    return file


def column(page: "Page", number: int) -> list[str]:
    cells = page.locator(f"tbody tr:visible > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


def visible(page: "Page", selector: str) -> int:
    return page.locator(f":is({selector}):visible").count()


def test_tables_are_sorted_as_numbers_and_words_and_filtered(open_page: OpenPage, report: Path) -> None:
    page = open_page(report)
    page.get_by_role("button", name="value").click()
    assert column(page, 2) == ["-7", "2e-3", "0.5", "9.5 %", "10.25 ± 1.00 %", "1,000", "-"]
    page.get_by_role("button", name="value").click()
    assert column(page, 2) == ["1,000", "10.25 ± 1.00 %", "9.5 %", "0.5", "2e-3", "-7", "-"]
    page.get_by_role("button", name="word").click()
    assert column(page, 3) == ["x"] * 4 + ["y"] * 3
    page.get_by_placeholder("Filter rows").fill("Y 10")
    assert column(page, 2) == ["10.25 ± 1.00 %"]
    assert page.locator("output").inner_text() == "1 of 7"


def test_a_hidden_method_is_gone_from_every_figure_and_table_and_the_address_remembers(
    open_page: OpenPage, report: Path
) -> None:
    page = open_page(report)
    button = page.locator("#choices").get_by_role("button", name="a b", exact=True)
    marks = "svg > g [data-of='a%20b']:not(.cover), svg [data-of='a%20b'].tip"
    before = visible(page, marks)
    assert before > 8
    button.click()
    legends = visible(page, ".legend [data-of='a%20b']")
    assert visible(page, marks) == legends > 0  # an entry of a legend stays, or nobody could bring it back
    assert set(column(page, 1)) == {EVIL}
    assert page.locator(".cover[data-of='a%20b']").first.evaluate("e => getComputedStyle(e).fillOpacity") == "1"
    again = open_page(report)
    again.goto(page.evaluate("location.href"))
    again.reload()
    assert set(column(again, 1)) == {EVIL}
    button.click()
    assert visible(page, marks) == before
    button.dblclick()
    assert set(column(page, 1)) == {"a b"}
    button.dblclick()
    assert len(column(page, 1)) == 7


def test_an_entry_of_a_legend_hides_its_method(open_page: OpenPage, report: Path) -> None:
    page = open_page(report)
    page.locator(".legend text").first.click()
    assert set(column(page, 1)) == {EVIL}


def test_one_density_and_one_layer_are_chosen_for_the_whole_page(open_page: OpenPage, report: Path) -> None:
    page = open_page(report)
    assert visible(page, "figure") == 3
    assert visible(page, "figure[data-only='0.1']") == 2
    page.get_by_label("Density").select_option("0.02")
    assert (visible(page, "figure[data-only='0.1']"), visible(page, "figure[data-only='0.02']")) == (0, 2)
    shades = page.locator("tbody tr").evaluate_all("rows => rows.map((r) => getComputedStyle(r).backgroundColor)")
    assert len({shades[1], shades[3], shades[5]}) == 1
    assert shades[0] != shades[1]
    page.get_by_label("Layer").select_option("fc2")
    slots = page.locator("figure:visible .slot")
    opacity = slots.evaluate_all("all => all.map((e) => getComputedStyle(e).fillOpacity)")
    assert opacity == ["0.85", "0"]
    page.get_by_role("link", name="All", exact=True).click()
    page.wait_for_function("location.hash.includes('at=all')")  # browsers tell of a new address a moment later
    address = page.evaluate("location.href")
    assert "density=0.02" in address
    assert "layer=fc2" in address
    page.get_by_label("Density").select_option("all")
    assert visible(page, "figure") == 5


def test_marks_and_cells_say_their_values_under_the_pointer(open_page: OpenPage, report: Path) -> None:
    page = open_page(report)
    tooltip = page.locator("#tooltip")
    page.locator(".tip").first.hover()
    assert tooltip.inner_text() == "a b at 2 %: 50.00 % (n = 1)"
    cells = page.locator(".cells:visible").first
    box = cells.bounding_box()
    assert box is not None
    cells.hover(position={"x": 0.75 * box["width"], "y": 0.25 * box["height"]})
    assert tooltip.inner_text() == "run 1 and run 2: 0.250"
    page.locator("h1").hover()
    assert tooltip.is_hidden()


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_names_stay_text_and_nothing_but_tables_scrolls_sideways(
    open_page: OpenPage, report: Path, width: int, dark: bool
) -> None:
    page = open_page(report, width=width, dark=dark)
    assert page.title() == "Title"
    assert page.evaluate("document.documentElement.scrollWidth") == width
    ink = page.locator("svg text").first.evaluate("e => getComputedStyle(e).fill")
    assert (min(map(int, re.findall(r"\d+", ink))) > 200) is dark


def test_without_scripts_everything_is_there(open_page: OpenPage, report: Path) -> None:
    page = open_page(report, scripts=False)
    assert visible(page, "figure svg") == 5
    assert visible(page, "tbody tr") == 7
    assert visible(page, "#choices") == 0
    assert page.locator(".tip > title").first.text_content() == "a b at 2 %: 50.00 % (n = 1)"


def test_of_real_runs_the_pointer_finds_what_the_table_says(
    sparsity: Any, save_run: Callable[..., Path], tmp_path: Path, open_page: OpenPage
) -> None:
    for number, (method, accuracy) in enumerate([("Random", 0.9125), ("SynFlow", 0.5)]):
        save_run(f"version_{number}", method, 0.3, seed=number, accuracy=accuracy)
    outcome = sparsity("report", tmp_path / "runs", "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    page = open_page(tmp_path / "out" / "index.html")
    told = page.locator("#results tbody tr[data-of=Random] td").all_inner_texts()
    assert "91.25 %" in told
    page.locator("#accuracy .tip[data-of=Random]").hover()
    assert page.locator("#tooltip").inner_text().endswith(": 91.25 % (n = 1)")
    assert (
        page.evaluate("new Set([...document.querySelectorAll('[id]')].map((e) => e.id)).size")
        == page.locator("[id]").count()
    )
