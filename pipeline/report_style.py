"""The style sheet of report.html."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f4f6f8; --card: #ffffff; --ink: #16202a; --muted: #5c6b7a;
  --line: #dde3e9; --accent: #1f6feb; --accent-soft: #e7f0fe;
  --ambient: #1a9c86; --critical: #d9572b; --warn: #7a4b00;
  --warn-soft: #fff3d6;
  --series-1: #1f6feb; --series-2: #d9572b; --series-3: #1a9c86;
  --series-4: #8e56d6; --series-5: #c9930a; --series-6: #cf3f7b;
  --series-7: #4a6fa5; --series-8: #6b8e23;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0e1319; --card: #161d26; --ink: #e6edf3; --muted: #93a1b0;
    --line: #2a3440; --accent: #58a6ff; --accent-soft: #14263d;
    --ambient: #35c4ab; --critical: #f47f57; --warn: #ffd98a;
    --warn-soft: #33280f;
    --series-1: #58a6ff; --series-2: #f47f57; --series-3: #35c4ab;
    --series-4: #b98cf5; --series-5: #e8b73a; --series-6: #f277a8;
    --series-7: #8fb0dd; --series-8: #a3c757;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
    "Helvetica Neue", "DejaVu Sans", sans-serif;
}
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 27px; line-height: 1.2; margin: 0 0 6px; }
h2 { font-size: 18px; margin: 0 0 4px; }
p { margin: 0 0 12px; }
.lead, .note { color: var(--muted); }
.note { font-size: 13.5px; }
.badge {
  display: inline-block; border-radius: 999px; padding: 3px 12px;
  font-size: 13px; font-weight: 600; margin: 6px 6px 6px 0;
  background: var(--accent-soft); color: var(--accent);
}
.badge.warn { background: var(--warn-soft); color: var(--warn); }
section {
  background: var(--card); border: 1px solid var(--line);
  border-radius: 12px; padding: 20px 22px; margin: 18px 0;
}
.tiles {
  display: grid; gap: 14px; margin: 20px 0;
  grid-template-columns: repeat(auto-fit, minmax(300px, 1fr));
}
.tile {
  background: var(--card); border: 1px solid var(--line);
  border-radius: 12px; padding: 15px 18px;
}
.tile b { display: block; font-size: 28px; line-height: 1.25; }
.tile span { color: var(--muted); font-size: 13.5px; display: block; }
.tile .what {
  color: var(--ink); font-weight: 600; font-size: 13.5px;
}
.flow {
  display: grid; gap: 8px; margin: 12px 0 18px;
  grid-template-columns: repeat(auto-fill, minmax(158px, 1fr));
}
.flow div {
  border: 1px solid var(--line); border-radius: 9px;
  padding: 9px 11px; border-top: 4px solid var(--tone);
}
.flow b { display: block; font-size: 13.5px; line-height: 1.3; }
.flow span { color: var(--muted); font-size: 12.5px; display: block; }
.strip {
  display: flex; height: 26px; border-radius: 7px; overflow: hidden;
  border: 1px solid var(--line); margin: 6px 0 8px;
}
.strip i {
  display: block; background: var(--tone); min-width: 1px;
  border-right: 1px solid var(--card);
}
.legend { font-size: 13px; color: var(--muted); margin: 2px 0 8px; }
.legend i {
  display: inline-block; width: 11px; height: 11px; border-radius: 3px;
  background: var(--tone); margin: 0 5px 0 0; vertical-align: -1px;
}
.legend span { margin-right: 16px; white-space: nowrap; }
.two { display: grid; gap: 18px; grid-template-columns: 1fr 1fr; }
.two > section { margin: 0; min-width: 0; }
@media (max-width: 800px) { .two { grid-template-columns: 1fr; } }
svg { width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th, td {
  text-align: right; padding: 7px 9px; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; white-space: nowrap;
}
th {
  color: var(--muted); font-weight: 600; vertical-align: bottom;
  white-space: normal; line-height: 1.3;
}
th:first-child, td:first-child { text-align: left; }
tr:last-child td, .facts tr:last-child th { border-bottom: 0; }
td small { color: var(--muted); display: block; }
table.facts td, table.facts th { text-align: left; white-space: normal; }
table.facts th { width: 220px; vertical-align: top; }
tr.best td { background: var(--accent-soft); }
pre {
  background: var(--page); border: 1px solid var(--line);
  border-radius: 8px; padding: 12px 14px; overflow-x: auto; font-size: 13px;
  margin: 8px 0 14px;
}
code { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, monospace; }
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""
