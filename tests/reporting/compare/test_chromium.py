"""The page in a real browser: nothing leaves it, and no script of an answer runs."""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cada.pipelines.compare import compare
from tests.reporting.runs import answers, good_after, good_before, write_evaluation

BROWSER = next(
    (b for b in ("chromium", "chromium-browser", "google-chrome", "chrome") if shutil.which(b)), ""
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BROWSER, reason="no Chromium on this machine"),
]


@contextmanager
def listener() -> Iterator[tuple[str, list[str]]]:
    """A server that notes every path which it is asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


def hostile(address: str) -> str:
    """Everything that might make a page load or run something; `data-ran` marks what ran."""
    mark = "document.documentElement.setAttribute('data-ran','1')"
    return (
        f"</p></pre></script><script>{mark};fetch('{address}/fetch')</script>"
        f'<img src="{address}/img" onerror="{mark}"><svg onload="{mark}"></svg>'
        f'<details open ontoggle="{mark}"><summary>x</summary></details>'
        f'<iframe src="{address}/frame"></iframe><link rel="stylesheet" href="{address}/style">'
        f"<style>@import url('{address}/import');</style>"
        f"![picture]({address}/markdown) [link](javascript:{mark}) {{{{ 7 * 6 }}}} '\"` --> ]]>"
    )


def refresh(address: str) -> str:
    """No policy forbids a page to lead elsewhere; that this is escaped must suffice."""
    return f'<meta http-equiv="refresh" content="0;url={address}/refresh">'


def load(page: Path, scratch: Path) -> tuple[str, set[str]]:
    """The page as it stands once its scripts have run, and every web address that was asked for."""
    log = scratch / "net.json"
    done = subprocess.run(
        [
            BROWSER,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={scratch / 'profile'}",
            f"--log-net-log={log}",
            "--virtual-time-budget=4000",
            "--dump-dom",
            page.resolve().as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout, web_requests(log)


def web_requests(log: Path) -> set[str]:
    """The http addresses of a net log that a page, and not the browser itself, asked for."""
    text = log.read_text(encoding="utf-8").rstrip().rstrip(",")
    events = json.loads(text if text.endswith("}") else f"{text}]}}")["events"]
    found = (event.get("params") or {} for event in events)
    # what the browser asks for of its own accord has no page as its initiator
    own = [p for p in found if p.get("initiator", "not an origin") != "not an origin"]
    return {p["url"] for p in own if str(p.get("url", "")).startswith("http")}


def page_with(text: str, folder: Path) -> Path:
    runs = []
    for name, outcomes in (("one", good_before), ("two", good_after)):
        side = [
            replace(
                a,
                request=f"{a.request} {text}",
                sent=f"{a.sent} {text} again",
                reasoning=f"It is told: {text}",
                response=f"{a.response} {text}",
                text=text,
                benchmark=f"set {text}",
                hazard=a.hazard and f"{a.hazard} {text}",
            )
            for a in answers(outcomes)
        ]
        runs.append(str(write_evaluation(folder / name, side, model=text)))
    return compare(runs, folder / "report.html").report


def ran(dom: str) -> bool:
    root = re.search(r"<html[^>]*>", dom)
    assert root is not None
    return "data-ran" in root.group()


def test_no_request_leaves_the_page_and_no_script_of_an_answer_runs(tmp_path: Path) -> None:
    with listener() as (address, asked):
        dom, requests = load(page_with(hostile(address) + refresh(address), tmp_path), tmp_path)
    assert asked == []
    assert requests == set()
    assert not ran(dom)
    assert dom.count('class="main-svg"') >= 2, "the page's own figures are drawn"
    assert "&lt;script&gt;" in dom


def test_the_policy_stops_markup_that_got_through_all_the_same(tmp_path: Path) -> None:
    with listener() as (address, asked):
        page = page_with("plain", tmp_path)
        html = page.read_text(encoding="utf-8")
        page.write_text(html.replace("<header>", f"<header>{hostile(address)}", 1), "utf-8")
        dom, _ = load(page, tmp_path)
    assert asked == []
    assert not ran(dom)
    assert "<iframe" in dom


def test_the_same_text_on_an_unguarded_page_is_seen_to_load_and_run(tmp_path: Path) -> None:
    """What the page must not do shows when a page does it."""
    with listener() as (address, asked):
        page = tmp_path / "bad.html"
        page.write_text(f"<!doctype html><html><body>{hostile(address)}</body></html>", "utf-8")
        dom, requests = load(page, tmp_path)
    assert {"/fetch", "/img", "/frame", "/style", "/import"} <= set(asked)
    assert {f"{address}/fetch", f"{address}/img"} <= requests
    assert ran(dom)
