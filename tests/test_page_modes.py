"""The page in the dark, on paper, and served while runs go on."""

import functools
import http.server
import threading

import pytest

from bench.report import page
from tests.synthetic_report import report

pytestmark = pytest.mark.browser
OPEN_ALL = "for (const one of document.querySelectorAll('details')) one.open = true"

# Contrast of every text with what it stands on, as WCAG 2 computes it.
CONTRASTS = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const linear = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const found = channels(getComputedStyle(node).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const found = {};
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest("script, title")) continue;
    const style = getComputedStyle(node);
    const ink = node.closest("svg") ? style.fill : style.color;
    const [a, b] = [light(channels(ink)), light(behind(node))].sort((x, y) => y - x);
    const kind = node.tagName + "." + (node.getAttribute("class") ?? "");
    found[kind] = Math.min(found[kind] ?? 99, (a + 0.05) / (b + 0.05));
  }
  return found;
}"""


@functools.cache
def rendered():
    return page.render(report())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_on_its_ground(visit, scheme):
    shown = visit(rendered(), "#cell=table-1:0:0", color_scheme=scheme)
    shown.evaluate(OPEN_ALL)
    ground = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 254, 251)", "dark": "rgb(23, 24, 26)"}[scheme]
    found = shown.evaluate(CONTRASTS)
    assert len(found) > 30
    assert {kind: ratio for kind, ratio in found.items() if ratio < 4.5} == {}


def test_on_paper_the_evidence_is_open_and_all_fits_between_the_margins(visit):
    shown = visit(rendered(), width=688)
    before = shown.evaluate("[...document.querySelectorAll('details')].map((one) => one.open)")
    shown.emulate_media(media="print")
    assert shown.locator("blockquote").evaluate_all("(all) => all.every((one) => one.checkVisibility())")
    assert shown.locator(".comparisons").evaluate_all("(all) => all.every((one) => one.checkVisibility())")
    assert not shown.locator("nav").is_visible()
    assert shown.evaluate("document.scrollingElement.scrollWidth") == 688
    widths = shown.locator("table").evaluate_all("(all) => all.map((one) => one.scrollWidth)")
    assert max(widths) <= 688
    sizes = shown.locator("table.results").evaluate_all(
        "(all) => all.map((t) => getComputedStyle(t).fontSize)"
    )
    assert min(float(size.removesuffix("px")) for size in sizes) * 0.75 > 6
    document = shown.pdf(prefer_css_page_size=True)
    assert document.startswith(b"%PDF")
    assert b"/MediaBox [0 0 594.95" in document or b"/MediaBox [0 0 595" in document
    shown.emulate_media(media="screen")
    assert shown.evaluate("[...document.querySelectorAll('details')].map((one) => one.open)") == before


class Served:
    """A page and its version on this machine."""

    def __init__(self):
        self.version, self.asked = "one", 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked += self.path == "/version"
                if self.path == "/version":
                    text, kind = outer.version, "text/plain"
                else:
                    kind = "text/html; charset=utf-8"
                    text = page.render(report(), refresh="version", version=outer.version)
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def served():
    found = Served()
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_a_served_page_follows_its_version_and_stays_where_the_reader_is(visit, served):
    shown = visit(address=served.address)
    shown.locator("#t-table-1 th[data-column='0'] button").first.click()
    shown.locator(".claim summary").first.click()
    shown.evaluate("window.old = true")
    shown.locator("#t-table-7 td.own").first.click()
    top = shown.evaluate("scrollY")
    assert top > 0
    served.version = "two"
    shown.wait_for_selector("body[data-version=two]", state="attached")
    shown.wait_for_selector("dialog[open]")
    assert shown.evaluate("window.old") is None
    assert shown.locator("dialog h2").inner_text() == "β-VAE, PSNR"
    assert abs(shown.evaluate("scrollY") - top) < 2
    assert shown.locator(".claim details").first.get_attribute("open") is not None
    assert shown.locator("#t-table-1 th[data-column='0']").first.get_attribute("aria-sort") == "descending"
    asked = served.asked
    shown.wait_for_timeout(2500)
    assert served.asked > asked
    assert shown.evaluate("document.body.dataset.version") == "two"
