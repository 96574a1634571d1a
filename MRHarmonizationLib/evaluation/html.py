"""A self-contained HTML page: text, tables and pictures in one file without scripts or links."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2733; background: #fff; margin: 2rem auto; max-width: 1150px;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
p.lead { color: #51606f; margin-top: 0; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #dde3ea; text-align: left; }
th { border-bottom: 2px solid #9fb0c0; } td.number { text-align: right; }
tr.best td { background: #eaf4ec; font-weight: 600; }
figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; background: #000; }
figcaption { color: #51606f; font-size: .9rem; } .note { border-left: 4px solid #d9a400; padding: .2rem .8rem;
background: #fdf7e3; }
"""


class HtmlPage:
    """Builds one page from top to bottom.

    Parameters
    ----------
    title : str
    lead : str
        One sentence under the title.
    """

    def __init__(self, title: str, lead: str = "") -> None:
        self._title = title
        self._parts = [f"<h1>{html.escape(title)}</h1>"]
        if lead:
            self._parts.append(f'<p class="lead">{html.escape(lead)}</p>')

    def heading(self, text: str) -> None:
        """Add a section heading."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def paragraph(self, text: str, note: bool = False) -> None:
        """Add a paragraph; a note stands out."""
        self._parts.append(f"<p{' class=note' if note else ''}>{html.escape(text)}</p>")

    def table(self, rows: Sequence[Mapping[str, Any]], highlight: Sequence[int] = ()) -> None:
        """Add a table; the keys of the first row are the columns, ``highlight`` the rows to stand out."""
        if not rows:
            return
        columns = list(rows[0])
        lines = [
            "<table><thead><tr>",
            *(f"<th>{html.escape(column)}</th>" for column in columns),
            "</tr></thead><tbody>",
        ]
        for number, row in enumerate(rows):
            lines.append('<tr class="best">' if number in highlight else "<tr>")
            for column in columns:
                value = row.get(column, "")
                kind = ' class="number"' if isinstance(value, (int, float)) else ""
                lines.append(f"<td{kind}>{html.escape(format_value(value))}</td>")
            lines.append("</tr>")
        lines.append("</tbody></table>")
        self._parts.append("".join(lines))

    def picture(self, png: bytes, caption: str) -> None:
        """Add a PNG as a data URI, with a caption that is also its alternative text."""
        data = base64.b64encode(png).decode("ascii")
        text = html.escape(caption)
        self._parts.append(
            f'<figure><img src="data:image/png;base64,{data}" alt="{html.escape(caption, quote=True)}">'
            f"<figcaption>{text}</figcaption></figure>"
        )

    def render(self) -> str:
        """Return the whole page."""
        body = "\n".join(self._parts)
        return (
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(self._title)}</title>'
            f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
        )


def format_value(value: Any) -> str:
    """Return a table cell: four significant digits, whole numbers in full, an en dash for nothing."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else {math.inf: "∞", -math.inf: "-∞"}.get(value, "–")
    return str(value)
