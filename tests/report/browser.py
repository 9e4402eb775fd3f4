"""A page in headless Chromium, at chosen widths: what it says, what sticks out, what overlaps."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")

# A headless window cannot be narrower than about 500 px, so that the phone is an iframe.
_MEASURE = """
const box = e => e.getBoundingClientRect();
const clipped = (e, top) => {
  for (let p = e.parentElement; p && p !== top; p = p.parentElement)
    if (getComputedStyle(p).overflowX !== 'visible') return true;
  return false;
};
function measure(frame) {
  const doc = frame.contentDocument, width = frame.clientWidth, found = {};
  doc.querySelectorAll('details').forEach(d => { d.open = frame.dataset.open === 'yes'; });
  found.scroll_width = doc.documentElement.scrollWidth;
  found.outside = [...doc.body.querySelectorAll('*')]
    .filter(e => box(e).width && box(e).right > width + 0.5 && !clipped(e, doc.body))
    .map(e => e.tagName + ' ' + e.textContent.slice(0, 40));
  found.overlaps = []; found.escaped = []; found.smallest = 99;
  for (const svg of doc.querySelectorAll('.plot svg')) {
    const texts = [...svg.querySelectorAll('text')], frameBox = box(svg);
    const boxes = texts.map(box);
    texts.forEach((a, i) => {
      const p = boxes[i];
      found.smallest = Math.min(found.smallest,
        parseFloat(getComputedStyle(a).fontSize) * frameBox.width / svg.viewBox.baseVal.width);
      if (p.left < frameBox.left - 1 || p.right > frameBox.right + 1)
        found.escaped.push(a.textContent);
      for (let k = i + 1; k < texts.length; k++) {
        const q = boxes[k];
        const w = Math.min(p.right, q.right) - Math.max(p.left, q.left);
        const h = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
        if (w > 1 && h > 3) found.overlaps.push([a.textContent, texts[k].textContent]);
      }
    });
  }
  found.background = getComputedStyle(doc.body).backgroundColor;
  found.ink = getComputedStyle(doc.body).color;
  return found;
}
addEventListener('load', () => {
  const all = [...document.querySelectorAll('iframe')].map(measure);
  document.getElementById('out').textContent = JSON.stringify(all);
});
"""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the browser found: one measurement per page and width, and the console's lines."""

    pages: list[dict[str, Any]]
    console: list[str]


def look(pages: Sequence[tuple[Path, int]], folder: Path, *, scheme: str) -> Seen:
    """Open each page at its width, folded and unfolded, with light or dark colours preferred."""
    frames = "".join(
        f'<iframe src="{html.escape(path.as_uri())}" width="{width}" height="800" '
        f'data-open="{unfolded}" style="border:0"></iframe>'
        for path, width in pages
        for unfolded in ("no", "yes")
    )
    wrapper = folder / "wrapper.html"
    wrapper.write_text(
        f"<!DOCTYPE html><body>{frames}<pre id=out></pre><script>{_MEASURE}</script>",
        encoding="utf-8",
    )
    done = subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--allow-file-access-from-files",
            f"--user-data-dir={folder / 'profile'}",
            f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
            "--window-size=1400,900",
            "--enable-logging=stderr",
            "--v=0",
            "--dump-dom",
            wrapper.as_uri(),
        ],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=60,
        check=True,
    )
    out = re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.DOTALL)
    if out is None or not out[1]:
        raise AssertionError(f"the browser measured nothing: {done.stderr[-2000:]}")
    return Seen(
        pages=json.loads(html.unescape(out[1])),
        console=[line for line in done.stderr.splitlines() if "CONSOLE" in line],
    )
