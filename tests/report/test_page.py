from html.parser import HTMLParser

from sparsity.formatting import key
from sparsity.report.page import (
    Choices,
    Section,
    at,
    code,
    columns,
    details,
    figure,
    figures,
    items,
    page,
    paragraph,
    table,
)
from sparsity.report.tables import Table, Whose

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
        table(Table(EVIL, ["a", EVIL], [[EVIL, EVIL]], [], [Whose((EVIL,), 0.1)])),
        columns([figures(EVIL, EVIL, [figure("<svg></svg>", EVIL, EVIL, EVIL, 0.1)])]),
        items([EVIL]),
        code(EVIL),
        details(EVIL, paragraph(EVIL)),
    ]
    choices = Choices([EVIL, "b"], [0.1, 1], [EVIL, "c"])
    found = parsed(page(EVIL, [EVIL], [Section("key", EVIL, blocks)], EVIL, choices))
    assert [attributes for tag, attributes in found.seen if tag == "script"] == [{}]  # the page's own, in it
    # Of the page itself 8, of the paragraph 1, table 4, figure 3, list 1, code 1, details 2.
    assert sum(EVIL in text for text in found.texts) == 20
    (button, _) = [attributes for tag, attributes in found.seen if tag == "button"]
    (row,) = [attributes for _, attributes in found.seen if "data-of" in attributes]
    assert button["data-method"] == row["data-of"] == key(EVIL)
    assert "<" not in key(EVIL)


def test_every_section_is_in_the_contents_and_empty_ones_are_left_out() -> None:
    found = parsed(page("t", ["l"], [Section("a", "A", [paragraph("x")]), Section("b", "B", [])], "f", Choices()))
    assert [attributes["href"] for tag, attributes in found.seen if tag == "a"] == ["#a", "#contents"]
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
    assert EVIL not in page("t", ["l"], [Section("a", "A", [EVIL])], "f", Choices())
    assert EVIL not in at(0.1, EVIL)
    assert "<script" not in details("t", EVIL)
    assert "<p>x</p>" in details("t", paragraph("x"))


def test_the_page_is_whole() -> None:
    text = page("t", ["l"], [], "f", Choices())
    assert text.startswith("<!DOCTYPE html>")
    assert text.endswith("</html>\n")
    assert "{{" not in text
    assert "--text: #1d2329" in text


def test_rows_and_blocks_say_of_which_methods_and_density_they_are() -> None:
    rows = table(Table("", ["methods"], [["a and b c"], ["d"]], [], [Whose(("a", "b c"), 0.02), Whose(("d",))]))
    found = [attributes for tag, attributes in parsed(rows).seen if tag == "tr"]
    assert found == [{}, {"data-of": "a b%20c", "data-at": "0.02"}, {"data-of": "d"}]
    assert '<div data-only="0.02">' in at(0.02, paragraph("x"))
    assert '<figure data-only="1">' in figure("<svg/>", "t", "l", "x.pdf", 1.0)
    assert "<figure>" in figure("<svg/>", "t", "l", "x.pdf", None)
