from html.parser import HTMLParser

from sparsity.report.page import Section, code, details, figure, figures, items, page, paragraph, table
from sparsity.report.tables import Table

EVIL = "<script>\"a\" & 'b'</script>"
VOID = {"meta", "img", "br"}


class Checked(HTMLParser):
    """Follows which elements are open; fails where one is closed that is not the innermost."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def parsed(html: str) -> Checked:
    parser = Checked()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


def test_names_are_text_wherever_they_stand() -> None:
    blocks = [
        paragraph(EVIL),
        table(Table(EVIL, ["a", EVIL], [[EVIL, EVIL]], [])),
        figures(EVIL, EVIL, [figure(b"<svg/>", "svg", 7.0, EVIL, EVIL, EVIL)]),
        items([EVIL]),
        code(EVIL),
        details(EVIL, paragraph(EVIL)),
    ]
    found = parsed(page(EVIL, EVIL, [Section("key", EVIL, blocks)], EVIL))
    assert "script" not in {tag for tag, _ in found.seen}
    # Of the page itself 6, of the paragraph 1, table 4, figure 3, list 1, code 1, details 2.
    assert sum(EVIL in text for text in found.texts) == 18
    (image,) = [attributes for tag, attributes in found.seen if tag == "img"]
    assert EVIL in str(image["alt"])
    assert image["width"] == "672"


def test_every_section_is_in_the_contents_and_empty_ones_are_left_out() -> None:
    found = parsed(page("t", "l", [Section("a", "A", [paragraph("x")]), Section("b", "B", [])], "f"))
    assert [attributes["href"] for tag, attributes in found.seen if tag == "a"] == ["#a"]
    assert [attributes["id"] for tag, attributes in found.seen if tag == "section"] == ["a"]


def test_rows_and_columns_have_headings() -> None:
    found = parsed(
        table(
            Table(
                "",
                ["method", "network", "density"],
                [["a", "b", "1 %"], ["c", "d", "2 %"]],
                words=["method", "network"],
            )
        )
    )
    assert [attributes.get("scope") for tag, attributes in found.seen if tag == "th"] == ["col"] * 3 + ["row"] * 2
    assert [attributes.get("class") for tag, attributes in found.seen if tag == "td"] == [None, "number"] * 2


def test_only_what_the_functions_made_is_taken_as_html() -> None:
    assert "<script" not in page("t", "l", [Section("a", "A", [EVIL])], "f")
    assert "<script" not in details("t", EVIL)
    assert "<p>x</p>" in details("t", paragraph("x"))


def test_the_page_is_whole() -> None:
    text = page("t", "l", [], "f")
    assert text.startswith("<!DOCTYPE html>")
    assert text.endswith("</html>\n")
    assert "{{" not in text
    assert "--text: #1d2329" in text
