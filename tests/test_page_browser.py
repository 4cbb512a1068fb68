"""The page in a browser. Its fixture fails a test whose page complains or asks a network for anything."""

import functools
import re

import pytest

from bench.report import page
from bench.report.model import Chart
from tests.synthetic_report import report
from tests.test_page import HOSTILE, hostile

pytestmark = pytest.mark.browser
OPEN_ALL = "for (const one of document.querySelectorAll('details')) one.open = true"


# The second row and column of the first table, wherever it is broken into panels.
BETA_VAE_LW = "#t-table-1 td.own:has(a[href='#cell=table-1:1:1'])"


@functools.cache
def rendered():
    return page.render(report())


def column(shown, heading):
    """The printed texts of a column of the first table, body by body, and its heading's aria-sort."""
    return shown.evaluate(
        """(number) => {
          const table = document.querySelector("#t-table-1 table");
          const heading = table.querySelector(`th[data-column="${number}"]`);
          const text = (row) => row.cells[number + 1].firstChild?.textContent ?? "";
          return [[...table.tBodies].map((body) => [...body.rows].map(text)), heading.getAttribute("aria-sort")];
        }""",
        heading,
    )


def numbers(texts):
    return [float(text.split(" ±")[0].replace("−", "-")) for text in texts if text not in ("", "—")]


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(visit, width):
    shown = visit(rendered(), width=width, height=844)
    for _ in range(2):
        assert shown.evaluate("document.scrollingElement.scrollWidth") == width
        shown.evaluate(OPEN_ALL)


def test_numbers_of_a_column_stand_beneath_one_another_whatever_stands_beside_them(visit):
    shown = visit(rendered())
    cells = shown.locator("#t-table-1 table").first.locator("tbody tr td:nth-of-type(5) a")
    ends = cells.evaluate_all("(all) => all.map((one) => one.getBoundingClientRect().right)")
    assert len(ends) == 13
    assert max(ends) - min(ends) < 0.6


def test_a_narrow_window_scrolls_a_table_under_its_first_column(visit):
    shown = visit(rendered(), width=390)
    box = shown.locator("#t-table-1 .scroll").first
    label = box.locator("tbody th").first
    before = label.bounding_box()
    assert box.evaluate("(box) => { box.scrollLeft = 200; return box.scrollLeft; }") == 200
    assert label.bounding_box()["x"] == before["x"]


def test_a_heading_sorts_within_the_groups_and_a_third_click_restores_the_papers_order(visit):
    shown = visit(rendered())
    before, _ = column(shown, 1)
    heading = shown.locator("#t-table-1 th[data-column='1'] button").first
    heading.click()
    (methods, *others), way = column(shown, 1)
    assert way == "descending"
    assert numbers(methods) == sorted(numbers(methods), reverse=True)
    assert min(numbers(methods)) < 0 < max(numbers(methods))
    assert methods.index("") == len(methods) - 1
    assert [len(body) for body in others] == [1, 3]
    heading.press("Enter")
    (methods, *_), way = column(shown, 1)
    assert way == "ascending"
    assert numbers(methods) == sorted(numbers(methods))
    assert methods.index("") == len(methods) - 1
    heading.press("Space")
    assert column(shown, 1) == [before, None]


def test_names_sort_as_names_and_one_column_sorts_at_a_time(visit):
    shown = visit(rendered())
    shown.locator("#t-table-1 th[data-column='0'] button").first.click()
    shown.locator("#t-table-1 th[data-column='-1'] button").first.click()
    (methods, *_), way = column(shown, -1)
    assert (methods[0], methods[-1], way) == ("BiGAN", "β-VAE-GAN + L_w", "ascending")
    assert column(shown, 0)[1] is None


def test_a_column_of_which_less_is_better_sorts_its_least_first(visit):
    shown = visit(rendered())
    heading = shown.locator("#t-table-7 thead tr:last-child th", has_text="paper").nth(1)
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"


def test_a_click_on_a_number_shows_its_runs_and_escape_puts_all_back(visit):
    shown = visit(rendered())
    shown.locator(BETA_VAE_LW).click()
    dialog = shown.locator("dialog")
    assert shown.url.endswith("#cell=table-1:1:1")
    assert dialog.locator("h2").inner_text() == "β-VAE + L_w, CIFAR-100, Conv[1-3]"
    assert dialog.locator("pre").count() == 3
    assert dialog.locator("pre").first.inner_text().startswith("bench run -m beta-vae-lw ")
    assert dialog.locator("svg.chart g[data-y]").count() == 3
    assert {"commit", "device", "seconds"} <= set(dialog.locator(".run dt").all_inner_texts())
    dialog.locator(".copy").first.click()
    shown.wait_for_selector(".copy:text-matches('Copied|Selected')")
    shown.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert "#" not in shown.url
    assert shown.evaluate("document.activeElement.getAttribute('href')") == "#cell=table-1:1:1"


def test_the_keyboard_walks_the_table_and_opens_a_cell(visit):
    shown = visit(rendered())
    assert shown.locator("#t-table-1 table").first.locator("a[tabindex='0']").count() == 1
    shown.locator("#t-table-1 td.own a").first.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowUp", "ArrowLeft", "ArrowLeft", "ArrowRight"):
        shown.keyboard.press(key)
    assert shown.evaluate("document.activeElement.getAttribute('href')") == "#cell=table-1:1:1"
    assert "37." in shown.locator("#tip").inner_text()
    shown.keyboard.press("Enter")
    assert shown.locator("dialog h2").is_visible()
    shown.keyboard.press("Shift+Tab")
    assert shown.evaluate("document.querySelector('dialog').contains(document.activeElement)")
    shown.locator("dialog header button").press("Enter")
    assert not shown.locator("dialog").is_visible()
    assert shown.evaluate("document.activeElement.getAttribute('href')") == "#cell=table-1:1:1"


def test_an_address_opens_a_cell_and_back_and_forward_follow(visit):
    shown = visit(rendered(), "#cell=table-1:0:0")
    assert shown.locator("dialog h2").inner_text() == "β-VAE, CIFAR-100, Conv1"
    image = shown.locator("dialog .confusion img")
    assert image.evaluate("(image) => getComputedStyle(image).imageRendering") == "pixelated"
    assert image.bounding_box()["width"] >= 10 * image.evaluate("(image) => image.naturalWidth")
    assert shown.locator("dialog .confusion li").first.inner_text() == "apple taken for bear: 40"
    shown.keyboard.press("Escape")
    assert not shown.locator("dialog").is_visible()
    shown.locator("#t-table-7 td.own").first.click()
    shown.go_back()
    assert not shown.locator("dialog").is_visible()
    shown.go_forward()
    assert shown.locator("dialog h2").inner_text() == "β-VAE, PSNR"


def test_an_address_of_nothing_opens_nothing(visit):
    shown = visit(rendered(), "#cell=table-9:0:0")
    for hash in ("#cell=table-1:99:0", "#cell=%E0%A4%A:1:1", "#tables", "#cell=table-7:0:1"):
        assert not shown.locator("dialog").is_visible()
        shown.evaluate("(hash) => { location.hash = hash; }", hash)
    assert not shown.locator("dialog").is_visible()


def test_a_pointer_on_a_number_or_a_curve_is_told_what_it_is(visit):
    shown = visit(rendered())
    tip = shown.locator("#tip")
    shown.locator(BETA_VAE_LW).scroll_into_view_if_needed()
    # A scroll, which hides tooltips, is told to the page with its next frame.
    shown.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    shown.locator(BETA_VAE_LW).hover()
    assert re.search(r"Against β-VAE\s+−0.20 ± 1.10", tip.inner_text())
    dot = shown.locator("#f-table-1-accuracies svg.chart g:not(.faint) .dot").first
    dot.scroll_into_view_if_needed()
    shown.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    box = dot.bounding_box()
    shown.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    figure = next(f for f in report().tables[0].figures if f.name == "table-1-accuracies")
    assert isinstance(figure.panels[0], Chart)
    last = figure.panels[0].lines[3]
    assert tip.inner_text() == f"{last.label}, mean of 3: test top-1, % {last.ys[-1]:.5g} at probe epoch 20"
    shown.mouse.move(2, 2)
    assert not tip.is_visible()


def test_a_key_lights_up_its_curves(visit):
    shown = visit(rendered())
    shown.locator("#f-table-1-accuracies .key li").nth(2).hover()
    lit = shown.locator("#f-table-1-accuracies svg.lit .on")
    assert set(lit.evaluate_all("(marks) => marks.map((mark) => mark.dataset.key)")) == {"2"}
    assert lit.count() == 3 * 4


def test_a_verdict_filters_the_claims(visit):
    shown = visit(rendered())
    button = shown.locator(".counts button", has_text="Cannot tell yet")
    button.click()
    assert shown.locator(".claim:visible").count() == 2
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert shown.locator(".claim:visible").count() == 5


def test_a_hostile_text_runs_nothing_when_its_cell_is_opened(visit):
    shown = visit(page.render(hostile()), "#cell=table-1:0:0")
    assert HOSTILE in shown.locator("dialog h2").inner_text()
    shown.keyboard.press("Escape")
    shown.locator("#t-table-1 td.own").first.hover()
    assert HOSTILE in shown.locator("#tip").inner_text()
    assert shown.evaluate("window.pwned") is None


def test_without_scripts_all_is_there_to_read_and_nothing_pretends_to_work(visit):
    shown = visit(rendered(), java_script_enabled=False)
    assert shown.locator("button").count() == 0
    assert not shown.locator(".scripted").is_visible()
    assert shown.locator("#t-table-1 td.own").first.inner_text().startswith("41.45")
    shown.locator(".claim summary").first.click()
    assert shown.locator("blockquote").first.is_visible()
