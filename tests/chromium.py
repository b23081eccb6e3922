"""Debian's Chromium without a window, driven by the DevTools protocol."""

import base64
import json
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import websocket
from postgres import wait_until

CHROMIUM = shutil.which("chromium")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--remote-debugging-port=0"),
    # A mouse, which there is none of: else bars of tools stand on the charts.
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",
)


class Browser:
    """A browser of one page; `errors` holds what its console said that is an error, and what it raised."""

    def __init__(self, width: int, height: int) -> None:
        self.errors: list[str] = []
        self.calls = 0
        self.folder = Path(tempfile.mkdtemp(prefix="cwgan-chromium-"))
        command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={self.folder}", "about:blank"]
        with open(self.folder / "log", "w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        port_file = self.folder / "DevToolsActivePort"
        wait_until(lambda: port_file.is_file() and port_file.read_text(), 60, "Chromium answers")
        address = f"http://127.0.0.1:{port_file.read_text().split()[0]}/json/list"
        with urllib.request.urlopen(address, timeout=30) as reply:
            page = next(target for target in json.load(reply) if target["type"] == "page")
        # Chromium refuses an origin that it does not know.
        self.socket = websocket.create_connection(
            page["webSocketDebuggerUrl"], timeout=60, suppress_origin=True
        )
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of the protocol; note the errors that are told meanwhile."""
        self.calls += 1
        self.socket.send(json.dumps({"id": self.calls, "method": method, "params": parameters}))
        while True:
            said = json.loads(self.socket.recv())
            if said.get("id") == self.calls:
                assert "result" in said, said
                return said["result"]
            told = said["params"]
            if (
                said["method"] == "Runtime.exceptionThrown"
                or (said["method"] == "Log.entryAdded" and told["entry"]["level"] == "error")
                or (said["method"] == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"))
            ):
                self.errors.append(json.dumps(told))

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in JavaScript."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def open(self, address: str, *wanted: str) -> str:
        """Open a page, wait until it shows these texts, and return all it shows."""
        self.call("Page.navigate", url=address)
        self.wait(lambda: all(text in self.text() for text in wanted), f"{address} shows {wanted}")
        return self.text()

    def text(self) -> str:
        return self.evaluate("document.body ? document.body.innerText : ''")

    def wait(self, is_so: Callable[[], object], what: str) -> None:
        try:
            wait_until(is_so, 60, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; the page shows: {self.text()}") from None

    def take_picture(self) -> bytes:
        """Return the page as a PNG file."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def close(self) -> None:
        self.call("Browser.close")
        self.socket.close()
        self.process.wait(timeout=30)
        shutil.rmtree(self.folder, ignore_errors=True)
