"""A report as a PDF: a title, some lines, some tables."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from reportlab.lib.colors import HexColor, white
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Flowable, LongTable, Paragraph, SimpleDocTemplate, Spacer, TableStyle

__all__ = ["Table", "render"]

#: A cell is one line; what is longer ends in an ellipsis.
MAX_CELL = 40
MARGIN = 20 * mm
_INK, _SHADE, _RULE = HexColor("#1f2a37"), HexColor("#f3f4f6"), HexColor("#d1d5db")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of text under a heading."""

    heading: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    #: The first of the columns that hold numbers: those are set flush right.
    numbers_from: int


def _plain(text: str) -> str:
    """The PDF's own fonts know Western European letters only: others are written as escapes rather than as boxes."""
    return text.encode("cp1252", "backslashreplace").decode("cp1252")


def _cell(text: str) -> str:
    text = _plain(text)
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _table(table: Table) -> LongTable:
    style = TableStyle(
        [
            ("FONTSIZE", (0, 0), (-1, -1), 8),
            ("FONTNAME", (0, 0), (-1, 0), "Helvetica-Bold"),
            ("BACKGROUND", (0, 0), (-1, 0), _INK),
            ("TEXTCOLOR", (0, 0), (-1, 0), white),
            ("ROWBACKGROUNDS", (0, 1), (-1, -1), [white, _SHADE]),
            ("LINEBELOW", (0, 0), (-1, -1), 0.25, _RULE),
            ("ALIGN", (table.numbers_from, 0), (-1, -1), "RIGHT"),
        ]
    )
    rows = [[_cell(text) for text in row] for row in (table.columns, *table.rows)]
    return LongTable(rows, style=style, repeatRows=1, hAlign="LEFT")


def render(*, title: str, lines: Sequence[str], tables: Sequence[Table]) -> bytes:
    """The PDF, on A4 with numbered pages. Any text is shown as it is: nothing in it is taken for markup."""

    def number(canvas: Canvas, document: BaseDocTemplate) -> None:
        canvas.setFont("Helvetica", 8)
        canvas.drawRightString(A4[0] - MARGIN, 12 * mm, f"Page {document.page}")

    styles = getSampleStyleSheet()
    # `Paragraph` reads markup, in which an <img> would fetch a file or an address: hence `escape`.
    story: list[Flowable] = [Paragraph(escape(_plain(title)), styles["Title"])]
    story += [Paragraph(escape(_plain(line)), styles["Normal"]) for line in lines]
    for table in tables:
        story += [Spacer(1, 6 * mm), Paragraph(escape(_plain(table.heading)), styles["Heading2"]), _table(table)]
    output = io.BytesIO()
    document = SimpleDocTemplate(
        output,
        pagesize=A4,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=MARGIN,
        bottomMargin=MARGIN,
        title=_plain(title),
        author="Backroom",
    )
    document.build(story, onFirstPage=number, onLaterPages=number)
    return output.getvalue()
