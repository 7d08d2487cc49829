"""Sequences of phasing steps as text: ``3*(180*HIO + 20*ER) + 20*ER``."""

from __future__ import annotations

import re

from adorym.errors import ConfigError, suggestion
from adorym.registry import names

# Single steps in addition to the registered algorithms.
SHRINK_WRAP, TWIN = "SW", "TWIN"
_TOKEN = re.compile(r"\s*(\d+|[A-Za-z_]+|[*+()])")


def steps_of(sequence: str) -> list[tuple[str, int]]:
    """``[(name in capitals, repetitions), ...]`` of a sequence, brackets resolved, neighbors of one name joined.

    Grammar: a sum of terms; a term is a name or a bracketed sum, with or without a number and ``*`` before it. Names
    are those of the registered algorithms, ``SW`` (shrink-wrap now) and ``TWIN`` (set half of the object to zero,
    once).

    Raises:
        ConfigError: The text is not a sequence; the message shows the first wrong character.
    """
    tokens, place = [], 0
    while place < len(sequence.rstrip()):
        found = _TOKEN.match(sequence, place)
        if found is None:
            raise _error(sequence, place, "a number, a name, '*', '+', '(' or ')'")
        tokens.append((found.group(1), found.start(1)))
        place = found.end()
    known = {name.upper() for name in names("phasing_algorithm")} | {SHRINK_WRAP, TWIN}
    parsed, rest = _sum(tokens, sequence, known)
    if rest:
        raise _error(sequence, rest[0][1], "'+' or the end")
    joined: list[tuple[str, int]] = []
    for name, count in parsed:
        if joined and joined[-1][0] == name:
            joined[-1] = (name, joined[-1][1] + count)
        elif count:
            joined.append((name, count))
    return joined


Tokens = list[tuple[str, int]]


def _sum(tokens: Tokens, text: str, known: set[str]) -> tuple[list[tuple[str, int]], Tokens]:
    total, rest = _term(tokens, text, known)
    while rest and rest[0][0] == "+":
        more, rest = _term(rest[1:], text, known)
        total = total + more
    return total, rest


def _term(tokens: Tokens, text: str, known: set[str]) -> tuple[list[tuple[str, int]], Tokens]:
    count = 1
    if tokens and tokens[0][0].isdigit():
        if len(tokens) < 2 or tokens[1][0] != "*":
            raise _error(text, tokens[1][1] if len(tokens) > 1 else len(text), "'*' after a number")
        count, tokens = int(tokens[0][0]), tokens[2:]
    if not tokens:
        raise _error(text, len(text), "the name of an algorithm, or '('")
    token, place = tokens[0]
    if token == "(":
        inner, rest = _sum(tokens[1:], text, known)
        if not rest or rest[0][0] != ")":
            raise _error(text, rest[0][1] if rest else len(text), "')'")
        return inner * count, rest[1:]
    name = token.upper()
    if not token[0].isalpha():
        raise _error(text, place, "the name of an algorithm, or '('")
    if name not in known:
        raise ConfigError("sequence", f"no phasing algorithm named '{token}'", remedy=suggestion(name, known))
    return [(name, count)], tokens[1:]


def _error(text: str, place: int, expected: str) -> ConfigError:
    found = f"'{text[place : place + 12]}' at character {place + 1}" if place < len(text) else "the end of the text"
    what, remedy = f"'{text}' is not a sequence", "such as '3*(180*HIO + 20*ER)'"
    return ConfigError("sequence", what, expected=expected, found=found, remedy=remedy)
