"""The deliberation format: an analysis, then a final response."""

import re
from dataclasses import dataclass
from enum import StrEnum


class FormatStyle(StrEnum):
    """How the two parts are marked in the model's text."""

    HEADINGS = "headings"
    THINK_TAGS = "think_tags"


_OPENS = {FormatStyle.HEADINGS: "Analysis: ", FormatStyle.THINK_TAGS: "<think>\n"}
HARMFUL, HARMLESS = "Harmful.", "Harmless."
_VERDICTS_FIRST = re.compile(rf"\A(?:\s*(?:{re.escape(HARMFUL)}|{re.escape(HARMLESS)}))+")


@dataclass(frozen=True)
class Deliberation:
    """A parsed output. `complete` says whether both parts are present and not empty, `repeated`
    whether a marker comes more than once.

    When the marker of the final response is missing, `response` is the whole output and
    `reasoning` is empty, so that a judge sees all that the model said (METHOD: the whole output
    is judged).
    """

    reasoning: str
    response: str
    complete: bool
    repeated: bool = False

    def finds(self, *, harmful: bool) -> bool:
        """Whether the reasoning opens with this verdict."""
        return self.reasoning.startswith(verdict_word(harmful))

    @property
    def without_verdict(self) -> str:
        """The reasoning after its verdict, if it opens with one."""
        return _VERDICTS_FIRST.sub("", self.reasoning).strip()


def verdict_word(harmful: bool) -> str:
    """What an analysis opens with where a verdict is asked for."""
    return HARMFUL if harmful else HARMLESS


def render(reasoning: str, response: str, style: FormatStyle = FormatStyle.HEADINGS) -> str:
    """The text of an output with both parts, as the model is asked to write it."""
    begun = _OPENS[style] + reasoning
    if style is FormatStyle.THINK_TAGS:
        return f"{begun}\n</think>\n\n{response}"
    return f"{begun}\n\nFinal response: {response}"


def opening(harmful: bool, style: FormatStyle = FormatStyle.HEADINGS) -> str:
    """The text of an output up to its verdict."""
    return _OPENS[style] + verdict_word(harmful)


def parse(text: str, style: FormatStyle = FormatStyle.HEADINGS) -> Deliberation:
    """Split an output into its two parts, whatever the model made of the format.

    `style` is the style that was asked for. The other one is read too. What `style` decides is a
    closing think tag alone: it is a marker only where think tags were asked for, because chat
    templates may put the opening tag into the prompt.

    A heading counts at the start of a line, in any case and markdown; the final-response heading
    also counts within a line of the analysis, where small models drop the line break. The analysis
    heading or the opening tag must open the output, after one short line at most. The reasoning
    ends at the first final-response marker. Where a part's marker is missing, the whole output is
    the response, so that nothing said before a late marker escapes the judge.
    """
    text = text.strip()
    parts = _split_tags(text, style) or _split_headings(text)
    if parts is None:
        return Deliberation("", _strip_marker(text, _FINAL), complete=False)
    reasoning = _strip_marker(_TAGS_AT_THE_ENDS.sub("", parts[0]).strip(), _ANALYSIS)
    response = _strip_marker(parts[1].strip(), _FINAL)
    repeated = any(len(marker.findall(text)) > 1 for marker in _ONCE)
    return Deliberation(reasoning, response, bool(reasoning and response), repeated)


def _heading(words: str) -> re.Pattern[str]:
    """A heading at the start of a line: `Words:`, `**Words:** ...`, or `## Words` alone."""
    emphasis = r"(?P<mark>[*_]{1,3})?"
    close = r"(?:(?P=mark))?"
    return re.compile(
        rf"^[ \t>#-]*(?:\d[.)][ \t]*)?{emphasis}[ \t]*(?:{words})[ \t]*{close}"
        rf"[ \t]*(?:[:：]|$)[ \t]*{close}",
        re.IGNORECASE | re.MULTILINE,
    )


_ANALYSIS = _heading(r"analysis|reasoning")
_FINAL = _heading(r"final[ \t]+(?:response|answer)")
_FINAL_AFTER_ANALYSIS = _heading(r"(?:final[ \t]+)?(?:response|answer)")
_FINAL_WITHIN_LINE = re.compile(
    r"(?:(?<=[.!?])[ \t]*|[ \t]+(?=[*_]*(?-i:F)))"
    r"(?P<mark>[*_]{1,3})?final[ \t]+(?:response|answer)[ \t]*(?:(?P=mark))?[ \t]*[:：]"
    r"[ \t]*(?:(?P=mark))?",
    re.IGNORECASE,
)
_OPEN_TAG = re.compile(r"<think(?:ing)?>", re.IGNORECASE)
_CLOSE_TAG = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_TAGS_AT_THE_ENDS = re.compile(
    r"\A(?:\s*</?think(?:ing)?>)+|(?:</?think(?:ing)?>\s*)+\Z", re.IGNORECASE
)
_LONGEST_PREFACE = 120
# What a whole output holds once; anywhere in a line, as small models write it.
_ONCE = (
    re.compile(r"final[ \t]+response[ \t]*[*_]*[ \t]*[:：]", re.IGNORECASE),
    _ANALYSIS,
    _CLOSE_TAG,
)


def _split_tags(text: str, style: FormatStyle) -> tuple[str, str] | None:
    opening, closing = _OPEN_TAG.search(text), _CLOSE_TAG.search(text)
    if closing is None:
        return None
    if opening is None or opening.start() > closing.start():
        if style is FormatStyle.HEADINGS:
            return None
        return text[: closing.start()], text[closing.end() :]
    preface = _strip_marker(text[: opening.start()].strip(), _ANALYSIS)
    if not _opens(preface):
        return None
    return text[opening.end() : closing.start()], text[closing.end() :]


def _split_headings(text: str) -> tuple[str, str] | None:
    analysis = _ANALYSIS.search(text)
    if analysis is None or not _opens(text[: analysis.start()].strip()):
        return None
    markers = (_FINAL_AFTER_ANALYSIS, _FINAL_WITHIN_LINE)
    found = [match for marker in markers if (match := marker.search(text, analysis.end()))]
    if not found:
        return None
    final = min(found, key=lambda match: match.start())
    return text[analysis.end() : final.start()], text[final.end() :]


def _opens(preface: str) -> bool:
    """Whether what stands before a marker is short enough to hold no answer."""
    return "\n" not in preface and len(preface) <= _LONGEST_PREFACE


def _strip_marker(text: str, marker: re.Pattern[str]) -> str:
    """The text without the markers that it begins with, however often they are repeated."""
    while (match := marker.match(text)) and match.end() > 0:
        text = text[match.end() :].strip()
    return text
