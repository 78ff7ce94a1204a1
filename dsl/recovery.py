"""Driving Lark's LALR tables token by token, so that one mistake does not hide the next.

A token that cannot stand where it does is mended in the cheapest way that lets the following token stand, too: a sign
put before it, a reserved word taken as the name it was meant to be, the token left out or taken for a name. Where
nothing of that helps, the parser gives up the phrase: it goes on at the next line that begins with a word such as
`stage`, or behind the brace that closes the phrase, and is silent until then. The tree is always one that the grammar
allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from lark import Token
from lark.parsers.lalr_analysis import Shift

from nasc.dsl.check_tokens import span_of
from nasc.dsl.diagnostics import Diagnostics, Source, Span
from nasc.dsl.grammar_cache import parser
from nasc.dsl.syntax_errors import Reporter
from nasc.dsl.tokens import retyped

if TYPE_CHECKING:
    from lark import Tree

# Words that begin a line's phrase, and signs whose absence is worth mending.
ANCHORS = frozenset(
    {"BLOCK", "DEFAULT", "HEAD", "IMPORT", "INPUT", "LAYER", "LET"}
    | {"NETWORK", "OUTPUT", "SEARCH", "SPACE", "STAGE", "TARGET"}
)
INSERTABLE = {"RBRACE": "}", "COMMA": ",", "EQUAL": "=", "ARROW": "->", "RPAR": ")", "OF": "of", "LBRACE": "{"}
END = "$END"


@dataclass(frozen=True)
class Unfinished:
    """What stands where a text breaks off: `stack` are the parts of the open phrases, tokens and Lark's trees, those
    of the innermost last; `expected` the names of the terminals that can come next.
    """

    stack: tuple[object, ...]
    expected: frozenset[str]


class Recovery:
    """One parse of one text."""

    def __init__(self, source: Source, start: str, diagnostics: Diagnostics, tokens: list[Token]) -> None:
        self.source = source
        self.state = parser().parse_interactive("", start=start).parser_state
        self.table: dict[int, dict[str, tuple[Any, Any]]] = self.state.parse_conf.states
        self.report = Reporter(source, diagnostics)
        end = Token.new_borrow_pos(END, "", tokens[-1]) if tokens else Token(END, "", 0, 1, 1, 1, 1, 0)
        self.tokens = [*tokens, end]
        # After a mistake the rest of its line is likely to look wrong, too.
        self.wrong_lines = {source.position(d.span.start)[0] for d in diagnostics.found if d.span}
        self.silent_lines = set(self.wrong_lines)

    def parse(self) -> Tree[Token] | None:
        """Return Lark's tree of all that the grammar allows; None where too little is left, or too many errors are."""
        return self._finish() if self._feed() else None

    def unfinished(self) -> Unfinished | None:
        """Take the text for the beginning of a longer one; None where too many errors are in it."""
        return Unfinished(tuple(self.state.value_stack), frozenset(self._expected())) if self._feed() else None

    def _feed(self) -> bool:
        """Take in all tokens but the end; False where there are too many errors."""
        index = 0
        while index < len(self.tokens) - 1:
            if self._accepts(self.tokens[index].type):
                self.state.feed_token(self.tokens[index])
                index += 1
            elif self.report.is_full:
                return False
            else:
                index = self._recover(index)
        return True

    def _finish(self) -> Tree[Token] | None:
        end = self.tokens[-1]
        if not self._accepts(END):
            self._complain(end)
            if not self._give_up_to(END):
                return None
        return cast("Tree[Token]", self.state.feed_token(end, is_end=True))

    # ------------------------------------------------------------------------------------------- the tables

    def _accepts(self, *terminals: str, length: int | None = None) -> bool:
        """Say whether these can come next, after the stack's first `length` states, without touching the parse."""
        trial = self.state.state_stack[:length]
        return all(self._shift(trial, terminal) for terminal in terminals)

    def _shift(self, stack: list[int], terminal: str) -> bool:
        while True:
            entry = self.table[stack[-1]].get(terminal)
            if entry is None:
                return False
            action, target = entry
            if action is Shift:
                stack.append(target)
                return True
            if target.expansion:
                del stack[-len(target.expansion) :]
            stack.append(self.table[stack[-1]][target.origin.name][1])
            if terminal == END and stack[-1] == self.state.parse_conf.end_state:
                return True

    def _expected(self) -> set[str]:
        return {name for name in self.table[self.state.position] if name.isupper() and self._accepts(name)}

    # ------------------------------------------------------------------------------------------- mending

    def _recover(self, index: int) -> int:
        """Mend what stands at the index; return where to go on."""
        token, following = self.tokens[index], self.tokens[index + 1].type
        if self._is_word(token) and not self._is_anchor(index) and self._accepts("NAME", following):
            if self._is_heard(token):
                self.report.reserved(token)
            self.state.feed_token(retyped(token, "NAME"))
            return index + 1
        for terminal, sign in INSERTABLE.items():
            if self._accepts(terminal, token.type, following):
                if self._is_heard(token):
                    self.report.missing(sign, token, self._open_bracket())
                self.state.feed_token(retyped(token, terminal, sign))
                return index
        self._complain(token)
        if following != END and not self._is_anchor(index) and self._accepts(following):
            return index + 1
        if not self._is_anchor(index) and token.type != "RBRACE" and self._accepts("NAME", following):
            self.state.feed_token(retyped(token, "NAME"))
            return index + 1
        return self._panic(index)

    def _complain(self, token: Token) -> None:
        if self._is_heard(token):
            self.report.unexpected(token, self._expected(), self._open_bracket())
        self.silent_lines.add(cast(int, token.end_line))

    def _is_heard(self, token: Token) -> bool:
        return token.line not in self.silent_lines

    def _panic(self, index: int) -> int:
        """Skip to where a parse may go on, and give up the unfinished phrases in between; return that place."""
        depth = 0
        for at in range(index, len(self.tokens) - 1):
            token = self.tokens[at]
            if self._is_anchor(at) and self._give_up_to(token.type):
                self.silent_lines -= {cast(int, token.line)} - self.wrong_lines
                return at
            if token.type == "RBRACE" and depth == 0 and self._open_bracket("{"):
                self.silent_lines.add(cast(int, token.line))
                return at + (not self._close_brace())
            depth = max(0, depth + (token.type == "LBRACE") - (token.type == "RBRACE"))
        return len(self.tokens) - 1

    def _give_up_to(self, terminal: str, outermost: int = 0) -> bool:
        """Drop the innermost unfinished phrases until the terminal can stand; say whether that helped."""
        for length in range(len(self.state.state_stack), outermost, -1):
            if self._accepts(terminal, length=length):
                self._cut(length)
                return True
        return False

    def _close_brace(self) -> bool:
        """Make the innermost open brace ready to be closed, or drop it; say which."""
        opening = max(at for at, value in enumerate(self.state.value_stack) if value == "{")
        if self._give_up_to("RBRACE", opening + 1):
            return True
        self._cut(opening + 1)
        return False

    def _cut(self, length: int) -> None:
        """Keep the stack's first states; there is one value less than states."""
        del self.state.state_stack[length:]
        del self.state.value_stack[length - 1 :]

    def _is_anchor(self, index: int) -> bool:
        token = self.tokens[index]
        first = index == 0 or token.line != self.tokens[index - 1].end_line
        return token.type in ANCHORS and first

    def _is_word(self, token: Token) -> bool:
        return token.type != "NAME" and token.isidentifier()

    def _open_bracket(self, kinds: str = "{([") -> Span | None:
        """The innermost bracket that is still open."""
        for value in reversed(self.state.value_stack):
            if isinstance(value, Token) and value in tuple(kinds):
                return span_of(value, self.source)
        return None
