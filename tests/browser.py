"""A headless Chromium, driven over its DevTools protocol: it opens and clicks pages."""

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


def browser_path():
    """Path of a browser, or None."""
    for name in BROWSERS:
        path = shutil.which(name)
        if path:
            return path
    return None


class Browser:
    """One tab of a browser of its own, with an empty profile.

    Attributes:
        requests: addresses that pages requested.
        errors: exceptions that their scripts did not catch.
    """

    def __init__(self, folder, *flags):
        command = [browser_path(), *FLAGS, *flags, f"--user-data-dir={folder}", "about:blank"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        port_file = folder / "DevToolsActivePort"

        def port_is_written():
            return port_file.exists() and port_file.read_text().count("\n")

        wait_for(port_is_written, 60, "the browser's port")
        port = port_file.read_text().splitlines()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=20) as reply:
            targets = json.load(reply)
        page = next(target for target in targets if target["type"] == "page")
        self.socket = websocket.create_connection(page["webSocketDebuggerUrl"], timeout=120)
        self.number = 0
        self.requests = []
        self.errors = []
        for domain in ("Page", "Runtime", "Network"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)

    def send(self, method, **parameters):
        """One command and its answer; events that come before it are kept."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            self._keep_event(message)
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]

    def _keep_event(self, message):
        """Keep a request or an uncaught exception; accept a dialog."""
        method = message.get("method")
        if method == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            exception = message["params"]["exceptionDetails"].get("exception", {})
            self.errors.append(exception.get("description", "?"))
        elif method == "Page.javascriptDialogOpening":
            # JupyterLab asks before an unsaved notebook is left.
            accept = {"id": 0, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
            self.socket.send(json.dumps(accept))

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
        """Go to a page and wait until it is complete."""
        self.send("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'", 60)

    def leave(self):
        """Go to an empty page and forget the requests and errors of the one before."""
        self.send("Page.navigate", url="about:blank")
        self.until("location.href === 'about:blank' && 1")
        self.requests.clear()
        self.errors.clear()

    def until(self, script, seconds=20):
        """The first value of a script that is true."""
        return wait_for(lambda: self.run(script), seconds, script)

    def mouse(self, kind, x, y, **parameters):
        """One event of the mouse at a position of the window, pixels."""
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **parameters)

    def click(self, x, y):
        """A press of the left button without a move."""
        self.drag([(x, y)])

    def drag(self, corners):
        """The left button held along a path."""
        self.mouse("mousePressed", *corners[0], button="left", buttons=1, clickCount=1)
        for x, y in corners[1:]:
            self.mouse("mouseMoved", x, y, button="left", buttons=1)
        self.mouse("mouseReleased", *corners[-1], button="left", clickCount=1)

    def photograph(self, path):
        """Write a PNG of the window."""
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = self.send("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(picture))

    def close(self):
        """End the browser."""
        self.socket.close()
        self.process.terminate()
        self.process.wait(30)


def wait_for(condition, seconds, description):
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
    raise AssertionError(f"not within {seconds} s: {description}")
