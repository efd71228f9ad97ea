"""The pieces that report.html is put together from, as HTML text."""

import html
from collections.abc import Iterable, Mapping
from typing import Any


def section(title: str, body: str) -> str:
  """A titled part of the page; `body` is HTML."""
  return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>"


def tile(what: str, figure: str, detail: str) -> str:
  """A headline figure with what it is and a detail, all plain text."""
  return (
    f'<div class="tile"><span class="what">{escape(what)}</span>'
    f"<b>{escape(figure)}</b><span>{escape(detail)}</span></div>"
  )


def badge(text: str, tone: str = "") -> str:
  """A short mark."""
  return f'<span class="badge {tone}">{escape(text)}</span>'


def facts_table(facts: Mapping[str, Any]) -> str:
  """A table of names and values, plain text."""
  rows = (
    f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
    for name, value in facts.items()
  )
  return f'<table class="facts">{"".join(rows)}</table>'


def table_head(names: Iterable[str]) -> str:
  """Table headings, plain text."""
  return "".join(f"<th>{escape(name)}</th>" for name in names)


def escape(value: Any) -> str:
  """Plain text as HTML."""
  return html.escape(str(value))


def show_rate(value: float | None) -> str:
  """A rate with three digits; a dash for none."""
  return "–" if value is None else f"{value:.3f}"


def show_percent(value: float) -> str:
  """A fraction as per cent."""
  return f"{100 * value:.1f}\u00a0%"


def show_count(value: int) -> str:
  """A count, in millions where it is large."""
  return f"{value / 1e6:.2f}\u00a0M" if value >= 1e5 else f"{value:,}"


def show_bytes(value: float) -> str:
  """Bytes in a readable unit."""
  for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
    if value >= scale:
      return f"{value / scale:.3g}\u00a0{unit}"
  return f"{value:.0f}\u00a0B"


def show_seconds(value: float) -> str:
  """Seconds, in minutes from one on."""
  if value < 60:
    return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"
  minutes, seconds = divmod(round(value), 60)
  return f"{minutes} min {seconds:02d} s"
