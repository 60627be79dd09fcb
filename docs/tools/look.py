"""Looks at the built site in headless Chromium: no page wider than the screen, no broken link.

    make site
    pip install playwright                          # and Chromium, of the system or playwright's
    python docs/tools/look.py --shots shots         # --chromium /usr/bin/chromium

Every page is opened at 1280 and at 390 pixels, and its width compared with the screen's. Pictures
must have loaded, local links and their anchors must lead somewhere, and nothing may be asked of
another server. What is wrong is printed, a line each, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urldefrag

from playwright.sync_api import Page, sync_playwright

SITE = Path(__file__).resolve().parents[2] / "build" / "site"
WIDTHS = (1280, 390)
PATIENCE = 120_000  # milliseconds for a page
SHOTS = ("index", "tutorial", "models/td", "gallery", "reference/evaluation")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, *args: object) -> None:
        pass


def faults_of(page: Page, asked: list[str]) -> list[str]:
    """What is wrong with the page that is open, apart from its width and links."""
    server = page.url.split("/", 3)[2]
    lost = page.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.src)")
    return [
        *(f"picture {one} is missing" for one in lost),
        *(f"asks for {one}" for one in asked if one.startswith("http") and server not in one),
    ]


def settled_width(page: Page, limit: int) -> int:
    """The page's width; where it is above the limit, when what moves after a resize has settled."""
    for _ in range(20):
        if (wide := page.evaluate("document.documentElement.scrollWidth")) <= limit:
            break
        page.wait_for_timeout(100)
    return wide


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--chromium", help="the browser (default: playwright's own)")
    parser.add_argument("--shots", type=Path, help="folder for pictures of five pages")
    given = parser.parse_args()
    handler = functools.partial(Quiet, directory=str(SITE))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}/"
    names = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
    wrong: list[str] = []
    links: dict[str, str] = {}
    anchors: dict[str, set[str]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=given.chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for name in names:
            asked.clear()
            page.goto(base + name, wait_until="load")
            wrong += [f"{name}: {fault}" for fault in faults_of(page, asked)]
            led = page.evaluate("[...document.querySelectorAll('a[href]')].map(a => a.href)")
            links |= dict.fromkeys([one for one in led if one.startswith(base)], name)
            found = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
            anchors[name] = set(found)
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                wide = settled_width(page, width)
                if wide > width:
                    wrong.append(f"{name}: {wide} pixels wide on a screen of {width}")
                if given.shots and name.removesuffix(".html") in SHOTS:
                    given.shots.mkdir(exist_ok=True)
                    stem = name.removesuffix(".html").replace("/", "-")
                    page.screenshot(path=given.shots / f"{stem}-{width}.png")
        browser.close()
    for link, name in sorted(links.items()):
        target, anchor = urldefrag(link)
        path = unquote(target.removeprefix(base)) or "index.html"
        if not (SITE / path).exists():
            wrong.append(f"{name}: leads to {path}, which there is not")
        elif anchor and path in anchors and unquote(anchor) not in anchors[path]:
            wrong.append(f"{name}: {path} has no #{anchor}")
    print("\n".join(wrong))
    print(f"{len(names)} pages at {WIDTHS} pixels, {len(links)} local links, {len(wrong)} wrong")
    return min(len(wrong), 1)


if __name__ == "__main__":
    sys.exit(main())
