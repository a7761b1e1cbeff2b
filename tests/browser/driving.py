"""A browser as a visitor uses it: keys, clicks, files in and files out."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

# Long enough for a machine that is busy with other things.
PATIENCE = 60
_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # containers let nobody make the sandbox's namespaces
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
)


@dataclass
class Visitor:
    """A tab, and where its downloads go."""

    driver: webdriver.Chrome
    downloads: Path

    def begin_anew(self) -> None:
        """An empty tab of a wide and light screen."""
        self.driver.get("about:blank")
        for left in self.downloads.iterdir():
            left.unlink()
        self.resize(1280, 900)
        self.prefer("light")
        self.complaints()  # of the tab as it was

    def complaints(self) -> list[str]:
        """What the browser's log holds: errors of scripts, refused resources, broken policies."""
        log = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in log if entry["level"] != "INFO"]

    def resize(self, width: int, height: int, *, is_phone: bool = False) -> None:
        """Another screen."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 2 if is_phone else 1, "mobile": is_phone}
        self.command("Emulation.setDeviceMetricsOverride", metrics)
        self.command("Emulation.setTouchEmulationEnabled", {"enabled": is_phone})

    def prefer(self, scheme: str, *, on_paper: bool = False) -> None:
        """``light`` or ``dark``, on a screen or on paper; and no movement, so that what is seen is what will stay."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.command("Emulation.setEmulatedMedia", {"media": "print" if on_paper else "", "features": features})

    def visit(self, address: str) -> None:
        """Open the page, and wait until it knows its model."""
        self.driver.get(address)
        self.until("!document.getElementById('main').hasAttribute('aria-busy')")

    def choose(self, *pictures: Path) -> None:
        """Choose files, and wait for all masks."""
        before = len(self.all("#gallery .ready"))
        self.one("#choose").send_keys("\n".join(map(str, pictures)))
        self.until_ready(before + len(pictures))

    def until_ready(self, number: int) -> None:
        """Wait for so many masks, the selected picture's among them."""
        self.until(
            f"document.querySelectorAll('#gallery .ready').length === {number} && "
            "!document.getElementById('download-mask').disabled"
        )

    def one(self, selector: str) -> WebElement:
        """The element of a CSS selector."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """All elements of one."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        """A click of the mouse, wherever the element has to be scrolled from."""
        self.one(selector).click()

    def press(self, *keys: str) -> None:
        """Keys, for whatever has the focus."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def press_with_control(self, key: str) -> None:
        """A key while Ctrl is held."""
        ActionChains(self.driver).key_down(Keys.CONTROL).send_keys(key).key_up(Keys.CONTROL).perform()

    def set(self, selector: str, value: object) -> None:
        """Give a range or a colour a value, with the events that a hand causes."""
        self.run(
            "const [selector, value] = arguments; const input = document.querySelector(selector); input.value = value;"
            "for (const kind of ['input', 'change']) input.dispatchEvent(new Event(kind, { bubbles: true }));",
            selector,
            value,
        )

    def drag(self, *points: tuple[float, float], over: str = "#stage") -> None:
        """Draw with the mouse over an element, through points given as shares of its width and height."""
        box = self.one(over).rect
        places = [(round((x - 0.5) * box["width"]), round((y - 0.5) * box["height"])) for x, y in points]
        actions = ActionChains(self.driver, duration=20).move_to_element_with_offset(self.one(over), *places[0])
        actions.click_and_hold()
        for place, last in zip(places[1:], places, strict=False):
            actions.move_by_offset(place[0] - last[0], place[1] - last[1])
        actions.release().perform()

    def run(self, script: str, *arguments: object) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def compute(self, script: str, *arguments: object) -> Any:
        """What an asynchronous script returns."""
        body = f"const done = arguments[arguments.length - 1]; (async () => {{ {script} }})().then(done)"
        return self.driver.execute_async_script(body, *arguments)

    def until(self, condition: str) -> None:
        """Wait until an expression holds."""
        WebDriverWait(self.driver, PATIENCE, 0.05).until(
            lambda driver: driver.execute_script(f"return {condition}"), message=condition
        )

    def command(self, name: str, arguments: dict[str, Any]) -> Any:
        """A command of the browser's own protocol."""
        return self.driver.execute_cdp_cmd(name, arguments)

    def said(self) -> str:
        """What a screen reader was last told."""
        return str(self.run("return document.getElementById('status').textContent"))

    def until_said(self, sentence: str) -> None:
        """Wait until that contains something."""
        self.until(f"document.getElementById('status').textContent.includes({json.dumps(sentence)})")

    def until_drawn(self) -> None:
        """Wait for the next frame but one, which shows all that was done."""
        self.compute("await new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")

    def shown(self) -> NDArray[np.uint8]:
        """The pixels of the result's canvas, ``(H, W, 4)``."""
        self.until_drawn()
        url = self.run("return document.getElementById('result').toDataURL()")
        with urllib.request.urlopen(url) as content:  # noqa: S310 - a data URL
            return np.asarray(Image.open(io.BytesIO(content.read())).convert("RGBA"))

    def requests(self) -> int:
        """How often the page has asked for something since it was opened."""
        return int(self.run("return performance.getEntriesByType('resource').length"))

    def download(self, selector: str, name: str) -> Path:
        """Click, and wait for the file of this name."""
        self.click(selector)
        return self.downloaded(name)

    def downloaded(self, name: str) -> Path:
        """Wait for a download, and until it is whole."""
        WebDriverWait(self.driver, PATIENCE, 0.05).until(
            lambda _: (self.downloads / name).exists() and not list(self.downloads.glob("*.crdownload")), message=name
        )
        return self.downloads / name


@contextmanager
def open_browser(downloads: Path) -> Iterator[Visitor]:
    """Debian's Chromium without a screen."""
    options = Options()
    options.binary_location = str(shutil.which("chromium"))
    for argument in _ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        driver.set_script_timeout(PATIENCE)
        behaviour = {"behavior": "allow", "downloadPath": str(downloads)}
        driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
        yield Visitor(driver, downloads)
    finally:
        driver.quit()


@contextmanager
def serving(model: Path, *options: str, **variables: str) -> Iterator[str]:
    """A server of its own process, as its command starts it."""
    command = [sys.executable, "-m", "maskwright", "serve", str(model), "--port", "0", "--device", "cpu", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield _address(process)
        finally:
            process.terminate()


def _address(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://\S+", line):
            return found.group()
    raise AssertionError("the server ended before it served")


@contextmanager
def occupying(address: str, key: str) -> Iterator[None]:
    """Another client, whose picture is on its way for as long as this lasts and so holds the server's only place."""
    connection = HTTPConnection(address.partition("://")[2])
    connection.putrequest("POST", "/v1/predict")
    for name, value in {**_authorized(key), "Content-Type": "image/png", "Content-Length": "1"}.items():
        connection.putheader(name, value)
    connection.endheaders()
    try:
        while "pictures_under_way 1.0" not in _metrics(address, key):
            pass
        yield
    finally:
        connection.close()


def _metrics(address: str, key: str) -> str:
    request = urllib.request.Request(f"{address}/metrics", headers=_authorized(key))  # noqa: S310 - a server of ours
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        text: str = answer.read().decode()
    return text


def _authorized(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def ask(address: str, picture: Path, words: str) -> bytes:
    """What the API answers to a program."""
    request = urllib.request.Request(  # noqa: S310 - a server of ours
        f"{address}/v1/predict?{words}", picture.read_bytes(), {"Content-Type": "application/octet-stream"}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        content: bytes = answer.read()
    return content


def pixels_of(content: bytes | Path) -> NDArray[np.uint8]:
    """The stored values of a PNG file."""
    with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
        return np.asarray(image)
