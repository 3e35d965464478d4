# SPDX-License-Identifier: MIT
"""A page of charts that needs nothing else: SVG by gnuplot, the tables below."""

import html
import subprocess

from report import TITLES

COLOURS = ["#888888", "#4477aa", "#cc6677", "#ddaa33", "#117733", "#882255", "#88ccee"]
LOG_FROM = 30	# largest to least value; from there on a linear axis hides the small ones


def plot(report, group):
    """The SVG of one group: a bar for each configuration, with its least and largest run."""
    rows = report.rows(group)
    names = [n for n in report.names if any(report.cell(r, n) for r in rows)]
    lines, present = [], []
    for row in rows:
        words = ['"' + row.name.replace('"', "") + '"']
        for name in names:
            c = report.cell(row, name)
            if not c or c.mean is None:
                words += ["?", "?", "?"]
            else:
                words += [f"{v:.6g}" for v in (c.mean, min(c.values), max(c.values))]
                present.append(c.mean)
        lines.append(" ".join(words))
    if not present:
        return ""
    log = min(present) > 0 and max(present) / min(present) > LOG_FROM
    # Bars of a logarithmic axis stand on its lower end.
    low = f"{min(present) / 2:.6g}" if log else ("0" if min(present) >= 0 else "*")
    width = 260 + 18 * len(rows) * (len(names) + 1)
    script = [f"set terminal svg size {max(width, 640)},420 dynamic font 'sans-serif,11' "
              "background '#ffffff'",
              "set datafile missing '?'", "set style data histogram",
              "set style histogram errorbars gap 1 lw 1", "set style fill solid 0.9 noborder",
              "set xtics rotate by -40 noenhanced scale 0", "set key outside right top noenhanced",
              "set grid ytics lc rgb '#dddddd'", f"set ylabel '{rows[0].unit}'",
              f"set yrange [{low}:*]", *(["set logscale y"] if log else []),
              "$data << END", *lines, "END",
              "plot " + ", ".join(
                  f"$data using {2 + 3 * i}:{3 + 3 * i}:{4 + 3 * i}:xtic(1) title '{n}' "
                  f"lc rgb '{COLOURS[i % len(COLOURS)]}'" for i, n in enumerate(names))]
    svg = subprocess.run(["gnuplot"], input="\n".join(script) + "\n", check=True, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout
    return svg[svg.index("<svg"):]


def page(report):
    """The page. gnuplot must be there."""
    parts = []
    for group in report.groups:
        parts.append(f"<h2>{html.escape(TITLES[group])}</h2>")
        parts.append(f"<figure>{plot(report, group)}</figure>")
        parts.append(f"<pre>{html.escape(report.comparison(group))}</pre>")
    about = "".join(f"<tr><th>{html.escape(k.replace('_', ' '))}</th><td>{html.escape(str(v))}</td>"
                    "</tr>" for k, v in report.about.items())
    reasons = html.escape("\n".join(report.reasons() + report.cached() + report.unchecked()))
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>vfsdax-bench</title><style>
body {{ font-family: sans-serif; margin: 2em; max-width: 90em }}
th {{ text-align: left; padding-right: 1em }} figure {{ margin: 0; overflow-x: auto }}
pre {{ overflow-x: auto }}</style></head><body>
<h1>vfsdax-bench</h1><table>{about}</table>
<pre>{html.escape(report.heading().partition(chr(10))[2])}</pre>
{"".join(parts)}
<pre>{reasons}</pre></body></html>
"""
