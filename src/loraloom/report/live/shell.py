"""The page around the report in a browser: what the run is doing, and the report in a frame.

The report's own page stays as it is, with its content security policy. A script of a few lines asks every few seconds
whether there is another version, and then loads the frame anew at the place where the reader was. Without scripts the
browser loads all anew every ten seconds. Until the first report is made a page without it says so. Rejected: pushing
events, which keep a thread for every open page.
"""

from __future__ import annotations

from markupsafe import Markup

from loraloom.report.live.state import State
from loraloom.report.policy import source_hash

SECONDS, SECONDS_WITHOUT_SCRIPT, SECONDS_WAITING = 3, 10, 1

STYLE = """
:root { color-scheme: light dark; --ground: #f7f8f9; --ink: #1d232a; --muted: #5d6875; --line: #dde2e8; --on: #009e73; }
@media (prefers-color-scheme: dark) { :root { --ground: #11151a; --ink: #e4e9ee; --muted: #9ba7b4; --line: #2e3843; } }
html, body { height: 100%; margin: 0; }
body { display: flex; flex-direction: column; background: var(--ground); color: var(--ink);
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif; }
p { margin: 0; padding: 7px 24px; border-bottom: 1px solid var(--line); }
p span { color: var(--muted); }
i { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 8px; background: var(--muted); }
.on i { background: var(--on); }
iframe { flex: 1; border: 0; width: 100%; }
@media (max-width: 560px) { p { padding-inline: 16px; } }
"""
SCRIPT = """
const frame = document.querySelector("iframe"), line = document.querySelector("p");
const sentence = document.querySelector("b"), detail = document.querySelector("p span");
let version = frame.dataset.version;
async function look() {
  try {
    const now = await (await fetch("status", { cache: "no-store" })).json();
    line.className = now.goes_on ? "on" : "";
    if (sentence.textContent !== now.sentence) sentence.textContent = now.sentence;
    if (detail.textContent !== now.detail) detail.textContent = now.detail;
    if (now.version && now.version !== version) {
      const place = frame.contentWindow.scrollY;
      const back = () => frame.contentWindow.scrollTo({ top: place, behavior: "instant" });
      frame.addEventListener("load", back, { once: true });
      version = now.version;
      frame.contentWindow.history.scrollRestoration = "manual";
      frame.contentWindow.location.reload();
    }
  } catch {
    line.className = "";
    sentence.textContent = "loraloom watch has ended.";
    detail.textContent = "This is the last that was seen.";
  }
  setTimeout(look, SECONDS * 1000);
}
setTimeout(look, SECONDS * 1000);
""".replace("SECONDS", str(SECONDS))


POLICY = (
    f"default-src 'none'; script-src '{source_hash(SCRIPT)}'; style-src '{source_hash(STYLE)}'; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


WAITING_POLICY = f"default-src 'none'; style-src '{source_hash(STYLE)}'; base-uri 'none'; form-action 'none'"


_PAGE = Markup(
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    "<title>{name} – loraloom watch</title>\n<style>{style}</style>\n{refresh}\n</head>\n<body>\n"
    "{body}\n</body>\n</html>\n"
)
_REFRESH = Markup('<meta http-equiv="refresh" content="{}">')


_LINE = Markup('<p class="{kind}" role="status"><i aria-hidden="true"></i><b>{sentence}</b> <span>{detail}</span></p>')


def waiting(name: str, state: State, detail: str) -> str:
    """The page before there is a run or its report: the browser asks for it each second, until it is the report's."""
    line = _LINE.format(kind="on", sentence=state.sentence, detail=detail)
    refresh = _REFRESH.format(SECONDS_WAITING)
    return _PAGE.format(name=name, style=Markup(STYLE), refresh=refresh, body=line)  # noqa: S704  # ours


def shell(name: str, state: State, detail: str, version: str) -> str:
    """The page; `name` is the run's."""
    line = _LINE.format(kind="on" if state.goes_on else "", sentence=state.sentence, detail=detail)
    body = Markup(
        "{line}\n"
        '<iframe src="report/index.html" title="The report" data-version="{version}"></iframe>\n'
        "<script>{script}</script>"
    ).format(
        line=line,
        version=version,
        script=Markup(SCRIPT),  # noqa: S704  # ours
    )
    refresh = Markup("<noscript>{}</noscript>").format(_REFRESH.format(SECONDS_WITHOUT_SCRIPT))
    return _PAGE.format(name=name, style=Markup(STYLE), refresh=refresh, body=body)  # noqa: S704
