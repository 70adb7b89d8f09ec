"""A page, taken apart strictly: what a browser would forgive is an error here."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "br", "link", "img", "hr", "input"}
# HTML lets these end by themselves, where the next one begins or what holds them ends.
_ENDS = {"td": {"td", "th"}, "th": {"td", "th"}, "tr": {"td", "th", "tr"}}
_CLOSES = {"tr": {"td", "th"}, "thead": {"td", "th", "tr"}, "tbody": {"td", "th", "tr"}}


class Page(HTMLParser):
    """The page's tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.mistakes: list[str] = []
        self.feed(text)
        self.close()
        if self._open:
            self.mistakes.append(f"never closed: {self._open}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._drop(_ENDS.get(tag, set()))
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        self._drop(_CLOSES.get(tag, set()))
        if not self._open or self._open.pop() != tag:
            self.mistakes.append(f"</{tag}> at {self.getpos()} closes something else")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def _drop(self, kinds: set[str]) -> None:
        while self._open and self._open[-1] in kinds:
            self._open.pop()

    @property
    def text(self) -> str:
        """What a reader sees, and the style sheet."""
        return "".join(self.texts)

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]


def dangers(text: str) -> list[str]:
    """Everything by which a page could act, or fetch something from elsewhere."""
    page = Page(text)
    found = list(page.mistakes)
    for tag, attributes in page.tags:
        if tag in {"script", "iframe", "object", "embed", "link", "base", "form", "img", "use"}:
            found.append(f"<{tag}>")
        for name, value in attributes.items():
            if name.startswith("on"):
                found.append(f"{tag} {name}")
            if name in {"href", "src", "action", "xlink:href"} and not value.startswith("#"):
                found.append(f"{tag} {name}={value}")
    style = "".join(re.findall(r"<style>(.*?)</style>", text, re.S))
    found += re.findall(r"url\(|@import|expression\(", style)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    found += [f"id {each} twice" for each in set(ids) if ids.count(each) > 1]
    for _, attributes in page.tags:
        named = attributes.get("aria-labelledby", "").split()
        if attributes.get("href", "").startswith("#"):
            named.append(attributes["href"][1:])
        found += [f"nothing has the id {each}" for each in named if each not in ids]
    return found
