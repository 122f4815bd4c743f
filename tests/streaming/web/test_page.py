"""The page as somebody at the line uses it: real Chromium, real server, real clicks and keys."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.streaming.build import MjpegServer, Running, adapter_files, draw_squares, free_port, running, wait_until
from vision_lora.streaming.web.server import Page

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TOKEN = "a long token of the plant"
FINGERPRINT = """
    const canvas = document.querySelector(arguments[0]);
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let sum = 0;
    for (let i = 0; i < data.length; i += 4) sum = (sum * 31 + data[i]) % 1000000007;
    return sum;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no Chromium: .ci/run installs it (chromium and chromium-driver)")
    options = Options()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Driver(DRIVER))
    driver.set_window_size(1400, 1000)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapter_files(tmp_path_factory.mktemp("adapters"), line1=("scratch", "dent"), line2=("stain",))


@pytest.fixture(scope="module")
def at_work(adapters: Path) -> Iterator[Running]:
    pictures = draw_squares(57, size=(320, 240)) + draw_squares(40, fill=30, size=(320, 240))
    with MjpegServer(lambda number: pictures[number % len(pictures)], fps=10) as camera:
        sources = [
            {
                "url": camera.url,
                "name": "press-line-3",
                "adapter": str(adapters / "line1.safetensors"),
                "mode": "both",
            },
            {"url": f"rtsp://127.0.0.1:{free_port()}/s", "name": "oven"},
        ]
        with running(source=sources, adapters=str(adapters)) as service:
            service.wait_for_picture("press-line-3")
            yield service


@pytest.fixture
def page(at_work: Running, browser: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    server = Page("127.0.0.1", 0, None)
    server.serve(at_work.service)
    browser.get_log("browser")  # of the test before
    browser.get(server.url)
    wait_until(lambda: browser.find_elements(By.CSS_SELECTOR, LINE + " .box"), 20, "boxes on the page")
    yield browser
    browser.get("about:blank")
    problems = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    server.stop()
    assert not problems, problems


LINE = "[data-source='press-line-3']"


def text(browser: webdriver.Chrome, selector: str) -> str:
    """What an element says; nothing where it is not there (yet) or hidden.

    In one script: between finding an element and asking it, the page may have replaced it.
    """
    script = """
        const shown = [...document.querySelectorAll(arguments[0])].filter((element) => element.checkVisibility());
        return shown.map((element) => element.innerText.trim()).join("");
    """
    said: str = browser.execute_script(script, selector)
    return said


def boxes(browser: webdriver.Chrome) -> set[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map((box) => box.dataset.name)"
    return set(browser.execute_script(script, LINE + " .box"))


def test_the_picture_moves_and_the_counts_rise(page: webdriver.Chrome) -> None:
    seen = set()
    for _ in range(8):
        seen.add(page.execute_script(FINGERPRINT, LINE + " canvas"))
        time.sleep(0.25)
    assert len(seen) >= 4
    first = int(text(page, LINE + " .alarms"))
    wait_until(lambda: int(text(page, LINE + " .alarms")) > first, 20, "more defects")
    assert 5 < float(text(page, LINE + " .fps")) < 12
    p50, p95, p99 = (int(value) for value in text(page, LINE + " .latency").removesuffix(" ms").split(" · "))
    assert p50 <= p95 <= p99
    assert page.find_elements(By.CSS_SELECTOR, "#crops img")
    assert page.execute_script("return [...document.querySelectorAll('#crops img')].every((i) => i.naturalWidth > 0)")
    assert "scratch" in text(page, "#legend")


def test_a_lost_camera_is_told_in_words(page: webdriver.Chrome) -> None:
    assert text(page, "[data-source='oven'] .state") == "lost: refused"
    assert text(page, "[data-source='oven'] .veil").startswith("No picture for")
    assert text(page, "#health") == "degraded"
    assert "1 live" in text(page, "#summary")
    assert "lost: refused" in text(page, "#events")


def test_switching_adapters_changes_the_boxes(page: webdriver.Chrome) -> None:
    assert boxes(page) == {"square", "scratch"}
    Select(page.find_element(By.CSS_SELECTOR, LINE + " select")).select_by_visible_text("line2")
    wait_until(lambda: boxes(page) == {"square", "stain"}, 10, "boxes of the other adapter")
    Select(page.find_element(By.CSS_SELECTOR, LINE + " select")).select_by_visible_text("none: the base alone")
    wait_until(lambda: boxes(page) == {"square"}, 10, "boxes of the base alone")
    Select(page.find_element(By.CSS_SELECTOR, LINE + " select")).select_by_visible_text("line1")
    wait_until(lambda: boxes(page) == {"square", "scratch"}, 10, "boxes of the first adapter")


def focused(page: webdriver.Chrome) -> tuple[str, str, str | None]:
    """Name, outline and type of what the keyboard is at; the page may be drawing it anew."""

    def look(page: webdriver.Chrome) -> tuple[str, str, str | None]:
        active = page.switch_to.active_element
        name = active.get_attribute("name") or active.tag_name
        return name, active.value_of_css_property("outline-style"), active.get_attribute("type")

    return WebDriverWait(page, 5, 0.05, [StaleElementReferenceException]).until(look)


def press(page: webdriver.Chrome, key: str) -> None:
    """A key, to whatever the keyboard is at."""
    ActionChains(page).send_keys(key).perform()


def test_by_keyboard_alone(page: webdriver.Chrome, at_work: Running) -> None:
    """Tab from the top of the page to every control of a camera; arrows change it."""
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert page.switch_to.active_element.text == "To the cameras"
    reached = []
    for _ in range(8):
        press(page, Keys.TAB)
        name, outline, kind = focused(page)
        reached.append(name)
        if kind != "radio":
            assert outline == "solid", "where one is has to be seen"
        if reached[-1] == "mode":
            press(page, Keys.ARROW_LEFT)  # both -> general
            wait_until(lambda: boxes(page) == {"square"}, 10, "general alone")
            press(page, Keys.ARROW_RIGHT)
            wait_until(lambda: boxes(page) == {"square", "scratch"}, 10, "both again")
        if reached[-1] == "confidence":
            press(page, Keys.ARROW_RIGHT)
            wait_until(lambda: at_work.service.detecting.choices["press-line-3"].confidence == 0.3, 10)
            press(page, Keys.ARROW_LEFT)
            wait_until(lambda: at_work.service.detecting.choices["press-line-3"].confidence == 0.25, 10)
        if reached[-1] == "summary":
            break
    assert reached == ["adapter", "mode", "confidence", "summary"]
    press(page, Keys.ENTER)
    field = page.find_element(By.CSS_SELECTOR, LINE + " [data-class=dent]")
    field.send_keys("0.6", Keys.TAB)
    wait_until(lambda: at_work.service.detecting.choices["press-line-3"].thresholds == {"dent": 0.6}, 10)
    page.find_element(By.CSS_SELECTOR, LINE + " [data-class=dent]").send_keys(Keys.BACKSPACE * 4, Keys.TAB)
    wait_until(lambda: at_work.service.detecting.choices["press-line-3"].thresholds == {}, 10)


def test_a_wrong_choice_is_explained_on_the_page(page: webdriver.Chrome) -> None:
    for camera in (LINE, "[data-source='oven']"):
        assert not text(page, camera + " .answer")
    page.find_element(By.CSS_SELECTOR, "[data-source='oven'] [value=defects] + span").click()
    wait_until(lambda: "expected an adapter" in text(page, "[data-source='oven'] .answer"), 10)
    checked = "[data-source='oven'] [value=general]:checked"
    wait_until(lambda: page.find_elements(By.CSS_SELECTOR, checked), 10, "what is, is shown again")
    page.get_log("browser")  # the browser notes the refusal as an error


@pytest.mark.parametrize("width", [390, 768, 1400])
def test_nothing_is_cut_off(page: webdriver.Chrome, width: int) -> None:
    """At the width of a telephone, of a tablet and of a screen: no sideways scrolling, nothing over the edge."""
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        time.sleep(0.5)
        assert page.execute_script("return innerWidth") == width
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
        script = """
            const over = (element) => element.getBoundingClientRect().right > innerWidth + 1
                && !element.closest(".boxes") && !element.closest(".skip") && element.offsetParent;
            const all = [...document.querySelectorAll("body *")];
            return all.filter(over).map((element) => element.outerHTML.slice(0, 80));
        """
        assert page.execute_script(script) == []
        small = """
            return [...document.querySelectorAll("select, .modes span, [type=range]")]
                .filter((element) => element.getBoundingClientRect().height < 34).length;
        """
        assert page.execute_script(small) == 0, "too small for a finger"
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_finds_the_program_again(at_work: Running, browser: webdriver.Chrome) -> None:
    server = Page("127.0.0.1", 0, None)
    server.serve(at_work.service)
    browser.get(server.url)
    wait_until(lambda: boxes(browser), 20, "boxes")
    server.stop()
    wait_until(lambda: "No connection" in text(browser, "#broken"), 15, "the page says so")
    port = int(server.url.rstrip("/").rpartition(":")[2])
    again = Page("127.0.0.1", port, None)
    again.serve(at_work.service)
    wait_until(lambda: not text(browser, "#broken"), 15, "it is back")
    before = browser.execute_script(FINGERPRINT, LINE + " canvas")
    wait_until(lambda: browser.execute_script(FINGERPRINT, LINE + " canvas") != before, 10, "the picture moves")
    again.stop()


def test_the_token_lets_one_in(at_work: Running, browser: webdriver.Chrome) -> None:
    server = Page("127.0.0.1", 0, TOKEN)
    server.serve(at_work.service)
    browser.get(server.url)
    assert browser.current_url.endswith("/login")
    browser.switch_to.active_element.send_keys("wrong token", Keys.ENTER)
    wait_until(lambda: "not the token" in text(browser, "#wrong"), 10)
    browser.find_element(By.ID, "token").send_keys(TOKEN, Keys.ENTER)
    wait_until(lambda: browser.find_elements(By.CSS_SELECTOR, LINE + " .box"), 20, "boxes")
    assert TOKEN not in json.dumps(browser.execute_script("return [location.href, document.cookie]"))
    server.stop()
    browser.delete_all_cookies()
