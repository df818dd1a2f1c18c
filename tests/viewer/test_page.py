"""The page, in a browser: what a unit says of itself is what the network has."""

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from sparsity.analysis import layer_masks
from sparsity.networks import FC
from sparsity.plotting.networks import networks_png
from sparsity.viewer.build import picture, pictures
from sparsity.viewer.page import network_page
from sparsity.viewer.picture import Picture
from tests.analysis.comparison.test_alignment import sparse
from tests.browser import OpenPage
from tests.viewer.networks import TINY, chain

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parent.parent.parent
EVIL = "</script><img src=https://example.org/x onerror=alert(1)>"


def written(folder: Path, shown: dict[str, Picture], title: str = "networks") -> Path:
    file = folder / "network.html"
    file.write_text(network_page(shown, networks_png(shown), title), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def network() -> FC:
    torch.manual_seed(0)
    found = FC((1, 6, 6), num_classes=4, width=20, depth=3)
    sparse(found, 0.3)
    return found


def place(page: "Page", dot: int, network: int = 0) -> dict[str, float]:
    x, y = page.evaluate(f"[networks[{network}].x[{dot}], networks[{network}].y[{dot}]]")
    return {"x": x, "y": y}


def told(page: "Page", what: str) -> list[str]:
    return page.locator(f".tip dd.{what}").all_text_contents()


def test_a_unit_says_how_many_weights_its_mask_keeps_and_the_strongest(
    network: FC, open_page: OpenPage, tmp_path: Path
) -> None:
    shown = {"a": picture(network)}
    page = open_page(written(tmp_path, shown))
    weight, mask = network.fc2.weight, layer_masks(network)["fc2"]
    unit = 7
    page.locator(".picture").hover(position=place(page, shown["a"].columns[2].first + unit))
    assert page.locator(".tip strong").inner_text() == f"fc2, unit {unit}"
    assert told(page, "fan-in") == [str(mask[unit].sum())]
    assert told(page, "fan-out") == [str(layer_masks(network)["fc3"][:, unit].sum())]
    strongest = int(weight[unit].abs().argmax())
    name, value = page.locator(".tip dl").nth(1).locator("dt, dd").all_text_contents()[:2]
    assert name == f"fc1, unit {strongest}"
    assert float(value.replace("\u2212", "-")) == pytest.approx(weight[unit, strongest].item(), rel=5e-3)
    assert page.locator(".picture.is-lit").count() == 1
    page.mouse.move(1, 1)
    assert page.locator(".tip").is_hidden()


def test_a_unit_of_the_first_layer_shows_its_weights_as_an_image(
    network: FC, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(written(tmp_path, {"a": picture(network)}))
    page.locator(".picture").hover(position=place(page, 36 + 3))
    alpha = page.evaluate("""() => {
        const map = document.querySelector("canvas.map");
        return [...map.getContext("2d").getImageData(0, 0, map.width, map.height).data].filter((_, k) => k % 4 === 3);
    }""")
    assert [opaque > 0 for opaque in alpha] == (
        network.fc1.weight[3].abs() * 254 > network.fc1.weight[3].abs().max()
    ).tolist()


def test_a_click_holds_a_unit_and_keys_walk_and_let_go(network: FC, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(written(tmp_path, {"a": picture(network)}))
    area = page.locator(".picture")
    area.click(position=place(page, 40))
    page.mouse.move(1, 1)
    assert page.locator(".tip strong").inner_text() == "fc1, unit 4"
    page.keyboard.press("ArrowDown")
    assert page.locator(".tip strong").inner_text() == "fc1, unit 5"
    page.keyboard.press("ArrowRight")
    assert page.locator(".tip strong").inner_text() == "fc2, unit 5"
    page.keyboard.press("Escape")
    assert page.locator(".tip").is_hidden()
    page.keyboard.press("ArrowRight")
    assert page.locator(".tip strong").inner_text() == "input, row 0, column 0"


def test_edges_on_no_path_can_be_hidden(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(written(tmp_path, {"a": picture(chain(*TINY), (3,))}))
    count = "[...networks[0].source.keys()].filter((edge) => networks[0].isShown(edge)).length"
    before = page.evaluate("networks[0].base.toDataURL()")
    assert page.evaluate(count) == 5
    page.get_by_label("hide edges that lie on no path").check()
    assert page.evaluate(count) == 3
    assert page.evaluate("networks[0].base.toDataURL()") != before


def test_two_networks_light_the_same_unit_and_show_apart_what_both_keep(open_page: OpenPage, tmp_path: Path) -> None:
    both = {"a": chain([[1.0, 2]], [[1.0]]), "b": chain([[5.0, 3]], [[1.0]])}
    both["b"][0].weight_mask[0, 0] = False
    page = open_page(written(tmp_path, pictures(both, (2,))), width=400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    tops = [page.locator(".picture").nth(number).bounding_box()["y"] for number in (0, 1)]  # type: ignore[index]
    assert tops[1] > tops[0] + 300
    page.locator(".picture").nth(1).click(position=place(page, 2, network=1))
    assert told(page, "fan-in") == ["2", "1"]
    shown = "networks.map((network) => [...network.value].filter((_, edge) => network.isShown(edge)))"
    page.get_by_label("kept by both networks").check()
    assert page.evaluate(shown) == [[2, 1], [3, 1]] or page.evaluate(shown) == [[1, 2], [3, 1]]
    page.get_by_label("by one of them only").check()
    assert page.evaluate(shown) == [[1], []]


@pytest.mark.parametrize("dark", [False, True])
def test_names_stay_text(open_page: OpenPage, tmp_path: Path, dark: bool) -> None:
    found = picture(chain(*TINY), (3,))
    columns = tuple(replace(column, name=EVIL) for column in found.columns)
    layers = {EVIL + name: counts for name, counts in found.layers.items()}
    page = open_page(written(tmp_path, {EVIL: replace(found, columns=columns, layers=layers)}, EVIL), dark=dark)
    page.locator(".picture").hover(position=place(page, 3))
    assert page.locator(".tip strong").inner_text().startswith(EVIL)
    assert page.locator("h1").inner_text() == EVIL
    assert page.locator("img").count() == 0


def test_without_scripts_there_is_the_image(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(written(tmp_path, {"a": picture(chain(*TINY), (3,))}), scripts=False)
    assert page.locator("img").is_visible()
    assert page.locator("img").evaluate("image => image.naturalWidth > 500")
    assert page.locator(".stage").is_hidden()
    assert page.locator("tbody tr").count() == 3


def test_the_same_network_gives_the_same_bytes(network: FC) -> None:
    pages = [network_page({"a": picture(network)}, b"", "a") for _ in range(2)]
    assert pages[0] == pages[1]


def test_the_example_of_the_guide_writes_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "show.md").read_text(encoding="utf-8"), flags=re.DOTALL
    )
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert "My network" in Path("network.html").read_text(encoding="utf-8")
