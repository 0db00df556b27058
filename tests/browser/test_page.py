"""The page that `scan --report` writes, in a real browser: three pages, from no log to ten thousand hostile alerts."""

import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "target/debug/cloudtrail-alerter"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
# No network, and nothing of a browser that looks for updates.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
PAGES = ("nothing", "ordinary", "hostile")
WIDTHS = (390, 1280)

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="Chromium is missing: the report is not seen in a browser")

CONFIGURATION = {"packs": ["cis", "threats"], "rules": [
    {"name": "users-created", "regexp": "^CreateUser", "severity": "high", "description": "A user was created."},
    {"name": "roles", "regexp": "Role$", "severity": "low"},
    {"name": "keys", "regexp": "AccessKey", "suppress": {"by": ["userIdentity.arn"], "for": "1d"}},
    {"name": "logins", "regexp": "Login", "ignore": [{"where": {"userIdentity.arn": "user/carol$"}}]},
]}
HOSTILE = ["<script>document.title='owned'</script>", '"><img src=x onerror="document.title=\'owned\'">',
           "</pre></details></main><h1>Nothing happened</h1>", "\u202egnitset\u202c", "javascript:alert(1)",
           "' onclick='alert(1)", "W" * 400]


def call(number, event, name, hours):
    day, hour = 1 + hours // 24, hours % 24
    return {
        "eventID": f"00000000-0000-4000-8000-{number:012}", "eventSource": "iam.amazonaws.com", "eventName": event,
        "eventTime": f"2026-11-{day:02}T{hour:02}:{number % 60:02}:00Z",
        "awsRegion": ["us-east-1", "eu-west-1"][number % 2],
        "recipientAccountId": f"12345678901{number % 3}", "sourceIPAddress": f"203.0.113.{number % 9}",
        "userIdentity": {"type": "IAMUser", "arn": f"arn:aws:iam::123456789012:user/{name}"},
        "requestParameters": {"userName": f"user-{number}"}, "userAgent": "aws-cli/2.15",
    }


def ordinary():
    events = ["CreateUser", "CreateRole", "CreateAccessKey", "ConsoleLogin", "ListUsers", "CreateUser"]
    names = ["alice", "bob", "alice", "carol", "deploy/release-42"]
    # Three days have no logs.
    hours = [hour for hour in range(0, 24 * 28, 2) if hour // 24 not in (9, 10, 11)]
    return [call(number, events[number * 7 % 6], names[number % 5], hour) for number, hour in enumerate(hours)]


def hostile():
    records = []
    for number in range(10_000):
        text = HOSTILE[number % len(HOSTILE)]
        record = call(number, "CreateUser" + text[:200], f"{text}{number % 500}", number % (24 * 28))
        keys = ("sourceIPAddress", "awsRegion", "userAgent", "errorMessage")
        record |= {key: f"{text}{number % 1_000}" for key in keys}
        record["requestParameters"] = {text: text}
        records.append(record)
    return records


class Report:
    def __init__(self, name, folder):
        self.file = folder / f"{name}.html"
        records = {"nothing": list, "ordinary": ordinary, "hostile": hostile}[name]()
        (folder / "c.json").write_text(json.dumps(CONFIGURATION))
        (folder / f"{name}.json").write_text(json.dumps({"Records": records}))
        run = subprocess.run([PROGRAM, "scan", "--config", folder / "c.json", "--format", "json", "--report", self.file,
                              folder / f"{name}.json"], capture_output=True, text=True, check=True)
        self.alerts = [json.loads(line) for line in run.stdout.splitlines()]


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    return {name: Report(name, folder) for name in PAGES}


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def show(browser, reports):
    """Opens a page; fails in the end if it asked for anything, or said anything on the console."""
    contexts, complaints = [], []

    def open_page(name, width=1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        url = reports[name].file.as_uri()
        page.on("request", lambda request: request.url.split("#")[0] == url or complaints.append(request.url[:200]))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message) or dialog.dismiss())
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def column(page, section, title):
    """The texts of a column of a section's table."""
    return page.evaluate(
        """([section, title]) => {
            const table = document.querySelector(`#${section} table.sortable`);
            const at = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === title);
            return [...table.tBodies[0].rows].map((row) => row.cells[at].textContent.trim());
        }""", [section, title])


@pytest.mark.parametrize("name", PAGES)
def test_numbers_are_those_of_the_alerts(name, show, reports):
    page, alerts = show(name), reports[name].alerts
    assert page.locator("#messages").inner_text() == str(len(alerts))
    if not alerts:
        assert "No message would have been sent." in page.inner_text("main")
        return
    days = {"ordinary": 25, "hostile": 28}[name]
    assert page.locator("#days").inner_text() == str(days)
    assert page.locator("h1").inner_text() == f"{len(alerts) / days:.1f} messages a day"
    by_rule = Counter(rule for alert in alerts for rule in alert["rules"])
    shown = dict(zip(column(page, "rules", "rule"), map(int, column(page, "rules", "messages")), strict=True))
    assert {rule: count for rule, count in shown.items() if count} == by_rule
    by_severity = Counter(alert["severity"] for alert in alerts)
    legend = [text for text in page.locator(".legend li").all_inner_texts() if text != "no logs"]
    assert sorted(legend) == sorted(f"{severity}: {count}" for severity, count in by_severity.items())
    # The chart's table, day by day.
    page.locator("#when details summary").click()
    rows = page.locator("#when tbody tr").all()
    shown = {row.locator("th").inner_text(): int(row.locator("td").first.inner_text()) for row in rows}
    by_day = Counter(alert["event"]["eventTime"][:10] for alert in alerts)
    assert {day: count for day, count in shown.items() if count} == by_day
    callers = Counter(alert["who"] for alert in alerts if "event" in alert)
    rows = page.locator("#who table").first.locator("tbody tr:not(.soft)").all()
    counts = [int(row.locator("td").first.inner_text()) for row in rows]
    assert counts == sorted(callers.values(), reverse=True)[:len(counts)]


@pytest.mark.parametrize("javascript", [True, False])
@pytest.mark.parametrize("name", PAGES[1:])
def test_charts_are_drawn_with_and_without_scripts(name, javascript, show, reports):
    page = show(name, java_script_enabled=javascript)
    plot = page.locator("svg.bars").bounding_box()
    assert plot["width"] > 500 and plot["height"] > 100
    boxes = [bar.bounding_box() for bar in page.locator("svg.bars rect:not(.gap)").all()]
    assert len(boxes) > 20
    for box in boxes:
        assert box["width"] > 3 and box["height"] > 0.1, box
        assert plot["x"] <= box["x"] and box["x"] + box["width"] <= plot["x"] + plot["width"] + 1
        assert plot["y"] - 1 <= box["y"] and box["y"] + box["height"] <= plot["y"] + plot["height"] + 1
    assert max(box["height"] for box in boxes) > 20
    assert page.locator("svg.spark").first.bounding_box()["width"] > 50
    # Everything is there without scripts.
    assert page.locator("#messages").inner_text() == str(len(reports[name].alerts))
    summary = page.locator("#alerts summary").first
    summary.click()
    assert page.locator("#alerts pre").first.is_visible()
    assert page.locator("thead button").count() == (0 if not javascript else page.locator(
        "table.sortable th[scope=col]:not(.plain)").count())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_the_screen_and_every_text_has_contrast(name, width, scheme, show):
    page = show(name, width, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((it, n) => { it.open = n < 20 })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, background[4:-1].split(","))) < 64) == (scheme == "dark"), background
    faint = page.evaluate("""() => {
        const channels = (color) => color.match(/[\\d.]+/g).map(Number);
        const light = (color) => {
            const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
            const [r, g, b] = channels(color).map((c) => linear(c / 255));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const behind = (it) => {
            for (; it; it = it.parentElement) {
                const color = getComputedStyle(it).backgroundColor;
                if ((channels(color)[3] ?? 1) > 0) return color;
            }
        };
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), faint = new Set();
        for (let checked = 0; walker.nextNode() && checked < 3000; checked++) {
            const it = walker.currentNode.parentElement;
            if (!walker.currentNode.data.trim() || it.closest("svg, script, style") || !it.checkVisibility()) continue;
            const [a, b] = [light(getComputedStyle(it).color), light(behind(it))].sort((a, b) => b - a);
            if ((a + 0.05) / (b + 0.05) < 4.5) faint.add(`${it.tagName}.${it.className} ${(a + 0.05) / (b + 0.05)}`);
        }
        return [...faint];
    }""")
    assert faint == []


def test_tables_are_sorted_and_filtered_by_keyboard(show):
    page = show("ordinary")
    counts = [int(text) for text in column(page, "rules", "messages")]
    assert counts == sorted(counts, reverse=True)
    head = page.locator("#rules thead th", has_text="messages")
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert [int(text) for text in column(page, "rules", "messages")] == sorted(counts)
    page.locator("#rules thead button", has_text="rule").first.click()
    names = column(page, "rules", "rule")
    assert names == sorted(names) and head.get_attribute("aria-sort") is None
    page.locator("#rules thead button", has_text="severity").click()
    ranks = [["info", "low", "medium", "high", "critical"].index(text) for text in column(page, "rules", "severity")]
    assert ranks == sorted(ranks)
    page.get_by_label("Filter").first.fill("USERS")
    shown = [row for row in page.locator("#rules tbody tr").all() if row.is_visible()]
    assert shown and all("users" in row.inner_text() for row in shown)
    assert page.locator("#rules-tools [role=status]").inner_text() == f"{len(shown)} of {len(names)} shown"


def test_a_keyboard_and_a_screen_reader_find_their_way(show):
    for name in PAGES:
        page = show(name)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        assert page.locator(".skip").bounding_box()["x"] >= 0, "it is visible once it has the focus"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        assert page.locator("h1").count() == 1 and page.locator("html").get_attribute("lang") == "en"
        problems = page.evaluate("""() => [
            ["table", (it) => it.caption?.textContent.trim()],
            ["th", (it) => it.scope],
            ["svg", (it) => it.ariaHidden === "true" || it.querySelector("title")],
            ["section", (it) => document.getElementById(it.getAttribute("aria-labelledby"))],
            ["a", (it) => document.getElementById(it.getAttribute("href").slice(1))],
        ].flatMap(([name, is_fine]) => [...document.querySelectorAll(name)].filter((it) => !is_fine(it)))
        .map((it) => it.outerHTML.slice(0, 200))""")
        assert problems == []
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map((it) => it.id)")
        assert len(ids) == len(set(ids))


def test_a_link_to_a_rule_opens_its_alerts(show):
    page = show("ordinary")
    link = page.locator("#rules tbody a").first
    link.click()
    opened = page.locator(link.get_attribute("href"))
    assert opened.locator("pre").first.is_visible()


def test_an_edit_is_copied(show):
    page = show("ordinary", permissions=["clipboard-read", "clipboard-write"])
    edit = page.locator(".edit").first
    edit.get_by_role("button").click()
    edit.get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == edit.locator("pre").text_content()


@pytest.mark.parametrize("name", PAGES)
def test_paper_shows_what_is_folded(name, show):
    page = show(name)
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    for pre in page.locator("#alerts pre").all()[:3]:
        assert pre.bounding_box()["height"] > 20
    assert len(page.pdf()) > 1_000


def test_hostile_texts_stay_texts(show):
    page = show("hostile")
    assert "owned" not in page.title() and page.locator("img").count() == 0 and page.locator("script").count() == 1
    assert page.locator("main").count() == 1 and page.locator("h1").count() == 1
    text = page.locator("body").text_content()
    assert "<script>document.title='owned'</script>" in text and "\\u202e" in text and "\u202e" not in text
    names = set(page.evaluate("[...document.querySelectorAll('*')].flatMap((it) => it.getAttributeNames())"))
    assert not [name for name in names if name.startswith("on") or name == "style"]
