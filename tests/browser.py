"""A headless Chromium driven over its DevTools protocol: a page is opened, clicked and photographed."""

import base64
import json
import shutil
import subprocess
import time
import urllib.request

import websocket

from cdrl.cli.doctor import BROWSERS

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
    "--window-size=1300,1300",
    "--hide-scrollbars",
    "--mute-audio",
)


def found():
    """Path of a browser, or None."""
    return next((path for path in map(shutil.which, BROWSERS) if path), None)


class Browser:
    """One tab of a browser of its own, with an empty profile.

    Attributes:
        asked: addresses that pages asked for. errors: exceptions that their scripts did not catch.
    """

    def __init__(self, folder, *flags):
        self.process = subprocess.Popen(
            [found(), *FLAGS, *flags, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        place = folder / "DevToolsActivePort"
        wait_for(lambda: place.exists() and place.read_text().count("\n"), 60, "the browser's port")
        port = place.read_text().splitlines()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=20) as reply:
            page = next(each for each in json.load(reply) if each["type"] == "page")
        self.socket = websocket.create_connection(page["webSocketDebuggerUrl"], timeout=120)
        self.number, self.asked, self.errors = 0, [], []
        for domain in ("Page", "Runtime", "Network"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)

    def send(self, method, **parameters):
        """One command and its answer; what happened meanwhile is kept."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("method") == "Network.requestWillBeSent":
                self.asked.append(message["params"]["request"]["url"])
            if message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(
                    message["params"]["exceptionDetails"]
                    .get("exception", {})
                    .get("description", "?")
                )
            if (
                message.get("method") == "Page.javascriptDialogOpening"
            ):  # JupyterLab asks before an unsaved notebook is left
                accept = {
                    "id": 0,
                    "method": "Page.handleJavaScriptDialog",
                    "params": {"accept": True},
                }
                self.socket.send(json.dumps(accept))
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]

    def run(self, script):
        """Value of a script's last expression, awaited where it is a promise."""
        result = self.send(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def open(self, address):
        """Goes to a page and waits until it is complete."""
        self.send("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'", 60)

    def leave(self):
        """Goes away from the page that is shown and forgets what it asked for and its errors."""
        self.send("Page.navigate", url="about:blank")
        self.until("location.href === 'about:blank' && 1")
        self.asked.clear(), self.errors.clear()

    def until(self, script, seconds=20):
        """The first value of a script that is true."""
        return wait_for(lambda: self.run(script), seconds, script)

    def mouse(self, kind, x, y, **more):
        """One event of the mouse at a position of the window, pixels."""
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x, y):
        """A press of the left button without a move."""
        self.drag([(x, y)])

    def drag(self, corners):
        """The left button held along a way."""
        self.mouse("mousePressed", *corners[0], button="left", buttons=1, clickCount=1)
        for x, y in corners[1:]:
            self.mouse("mouseMoved", x, y, button="left", buttons=1)
        self.mouse("mouseReleased", *corners[-1], button="left", clickCount=1)

    def photograph(self, path):
        """Writes a PNG of the window."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])
        )

    def close(self):
        """Ends the browser."""
        self.socket.close()
        self.process.terminate()
        self.process.wait(30)


def wait_for(condition, seconds, what):
    """The first true value of a condition.

    Raises:
        AssertionError: after so many seconds without one.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")
