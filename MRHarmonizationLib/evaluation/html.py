"""A self-contained HTML page: text, tables, pictures and plots in one file that loads nothing.

Readable on a screen of 390 pixels, in light and dark, with and without scripts. The page forbids its own browser
every connection (Content-Security-Policy), so that a report stays what it is wherever it is opened.
"""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

POLICY = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""What the page may load: pictures and scripts written in it, nothing from anywhere else."""

STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --soft: #51606f; --paper: #ffffff; --line: #dde3ea; --rule: #9fb0c0;
  --best: #eaf4ec; --note: #fdf7e3; --note-edge: #d9a400; --before: #c25400; --after: #0067a8; --reference: #00734f;
  --ratio: #7a3f9d; --limit: #6b7885; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4eaf0; --soft: #a9b6c3; --paper: #12181f; --line: #2b3641;
  --rule: #566675; --best: #16301f; --note: #332b10; --note-edge: #d9a400; --before: #ff9e5e; --after: #62b5f0;
  --reference: #4fd0a1; --ratio: #c79be6; --limit: #93a1ae; } }
* { box-sizing: border-box; } [hidden] { display: none !important; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 1180px; padding: 0 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .2rem; } p { margin: .4rem 0; max-width: 75ch; }
p.lead, figcaption, .soft { color: var(--soft); } p.lead { margin-top: 0; } a { color: var(--after); }
ul { padding-left: 1.2rem; max-width: 75ch; } nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap;
  gap: .2rem 1rem; max-width: none; }
.scroll { overflow-x: auto; max-width: 100%; margin: .6rem 0; }
.scroll:focus-visible { outline: 2px solid var(--after); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { border-bottom: 2px solid var(--rule); white-space: nowrap; } tbody th { border-bottom: 1px solid var(--line); }
td.number { text-align: right; white-space: nowrap; } td.long { min-width: 22rem; color: var(--soft); }
tr.best td { background: var(--best); font-weight: 600; }
figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; background: #000; display: block; }
figcaption { font-size: .9rem; max-width: 75ch; }
.note { border-left: 4px solid var(--note-edge); padding: .3rem .8rem; background: var(--note); }
@media (max-width: 600px) { body { margin: 1rem auto; padding: 0 .7rem; } td.long { min-width: 15rem; }
  th, td { padding: .25rem .45rem; } }
@media print { .scroll { overflow: visible; } }
"""

LONG_TEXT = 60
"""Table cells with more characters than this are given room to wrap."""


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
        self._head = [f"<h1>{html.escape(title)}</h1>"]
        if lead:
            self._head.append(f'<p class="lead">{html.escape(lead)}</p>')
        self._parts: list[str] = []
        self._contents: list[tuple[str, str]] = []
        self._styles = [STYLE]
        self._scripts: list[str] = []

    def heading(self, text: str, level: int = 2) -> None:
        """Add a heading; those of the second level are listed at the top of pages that have several."""
        identifier = f"{re.sub('[^a-z0-9]+', '-', text.lower()).strip('-')}-{len(self._parts)}"
        if level == 2:
            self._contents.append((identifier, text))
        self._parts.append(f'<h{level} id="{identifier}">{html.escape(text)}</h{level}>')

    def paragraph(self, text: str, note: bool = False) -> None:
        """Add a paragraph; a note stands out."""
        self._parts.append(f"<p{' class=note' if note else ''}>{html.escape(text)}</p>")

    def bullets(self, items: Sequence[str]) -> None:
        """Add a list of sentences; nothing where there are none."""
        if items:
            self._parts.append(f"<ul>{''.join(f'<li>{html.escape(item)}</li>' for item in items)}</ul>")

    def table(self, rows: Sequence[Mapping[str, Any]], highlight: Sequence[int] = (), caption: str = "") -> None:
        """Add a table; the keys of the first row are the columns, ``highlight`` the rows to stand out.

        A table wider than the screen scrolls inside its own box, also by keyboard.
        """
        if not rows:
            return
        columns = list(rows[0])
        label = html.escape(caption or "table: " + ", ".join(columns), quote=True)
        lines = [
            f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table>',
            f"<caption>{html.escape(caption)}</caption>" if caption else "",
            "<thead><tr>",
            *(f'<th scope="col">{html.escape(column)}</th>' for column in columns),
            "</tr></thead><tbody>",
        ]
        for number, row in enumerate(rows):
            lines.append('<tr class="best">' if number in highlight else "<tr>")
            lines += [_cell(row.get(column, "")) for column in columns]
            lines.append("</tr>")
        lines.append("</tbody></table></div>")
        self._parts.append("".join(lines))

    def picture(self, png: bytes, caption: str) -> None:
        """Add a PNG as a data URI, with a caption that is also its alternative text."""
        text = html.escape(caption)
        self._parts.append(f"<figure>{image_tag(png, caption)}<figcaption>{text}</figcaption></figure>")

    def fragment(self, markup: str, style: str = "", scripts: Sequence[str] = ()) -> None:
        """Add ready HTML, whose writer has escaped it, with the style and the scripts it needs, each kept once."""
        self._parts.append(markup)
        if style and style not in self._styles:
            self._styles.append(style)
        self._scripts += [script for script in scripts if script not in self._scripts]

    def render(self) -> str:
        """Return the whole page."""
        links = "".join(f'<li><a href="#{key}">{html.escape(text)}</a></li>' for key, text in self._contents)
        contents = [f'<nav aria-label="contents"><ul>{links}</ul></nav>'] if len(self._contents) > 3 else []
        body = "\n".join([*self._head, *contents, *self._parts])
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{html.escape(self._title)}</title><style>{''.join(self._styles)}</style></head>\n"
            f"<body>\n<main>\n{body}\n</main>\n{''.join(self._scripts)}</body></html>\n"
        )


def image_tag(png: bytes, alternative: str, attributes: str = "") -> str:
    """Return an ``<img>`` with a PNG written in it; ``attributes`` are put in as they are."""
    data = base64.b64encode(png).decode("ascii")
    return f'<img {attributes}src="data:image/png;base64,{data}" alt="{html.escape(alternative, quote=True)}">'


def format_value(value: Any) -> str:
    """Return a table cell: four significant digits, whole numbers in full, an en dash for nothing."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else {math.inf: "∞", -math.inf: "-∞"}.get(value, "–")
    return str(value)


def _cell(value: Any) -> str:
    text = format_value(value)
    kind = ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        kind = ' class="number"'
    elif len(text) > LONG_TEXT:
        kind = ' class="long"'
    return f"<td{kind}>{html.escape(text)}</td>"
