"""The catalogue of diagnostic codes.

E01xx syntax, E02xx files, imports and names, E03xx meaning (`codes_meaning.py`), W0xxx warnings. A code is never
given a second meaning.
"""

from __future__ import annotations

from nasc.dsl.code_info import CodeInfo
from nasc.dsl.codes_meaning import MEANING

SYNTAX = {
    "E0101": CodeInfo(
        "a character without a meaning",
        "The text holds a character that is part of no word, number or sign of the language: a sign of another "
        "language, a typographic one that a text processor put in, or a control character. Texts in quotes end in the "
        "line in which they begin; one that is not closed is reported here, too.",
        "Write the sign that the language knows: `->` for an arrow, `x` for times, `//` before a comment.",
        "space a {\n  stage s conv { kernel 3 } → 24\n}\n",
    ),
    "E0102": CodeInfo(
        "something cannot stand here",
        "The words and signs are known, but not in this order. The underlined one is the first that cannot be "
        "understood; what could have stood there is said beside it. What follows in the same line is not looked at, "
        "so a second mistake in it shows once the first is mended.",
        "Look left of the place, too: often something is missing before it.",
        "space a {\n  stage s conv { kernel = 3 }\n}\n",
    ),
    "E0103": CodeInfo(
        "a bracket is not closed",
        "A `{`, `(` or `[` is still open where the text ends, or where something comes that cannot stand within it. "
        "The bracket itself is shown as well.",
        "Close the bracket.",
        "space a {\n  stage s conv { kernel 3 -> 24\n}\n",
    ),
    "E0104": CodeInfo(
        "a word of the language used as a name",
        "Thirty words, such as `stage`, `first` and `x`, belong to the language. They cannot name a stage, a block, a "
        "parameter or a value anywhere, so that a reader never has to ask which is meant.",
        "Choose another name.",
        "space a {\n  stage head conv { kernel 3 }\n}\n",
    ),
    "E0105": CodeInfo(
        "nested too deeply",
        "Brackets may stand 64 deep within one another, and expressions about 200. No network needs that; a file that "
        "does was most likely written by a program gone astray.",
        "Give a part of the expression a name, by `let` or within a block, and use the name.",
    ),
    "E0106": CodeInfo(
        "a number with too many digits",
        "Numbers are exact, so a long one is not rounded but kept. They may have 100 digits, and an exponent of at "
        "most 100.",
        "Write a smaller number.",
        "space a {\n  let w = 1e1000\n}\n",
    ),
    "E0107": CodeInfo(
        "an edition of the language that is not known",
        "The first line `nas 1` fixes the grammar and the meaning of the standard library. This file asks for an "
        "edition that this nasc does not know, so it cannot tell what the file means, and looks at nothing else in it. "
        "A file without the line is of the first edition.",
        "Use a newer nasc, or write the file in `nas 1`.",
        "nas 2\n",
    ),
    "E0108": CodeInfo(
        "an operator's parenthesis on another line",
        "Line breaks mean nothing in the language, so a parenthesis in the next line would hold the arguments of the "
        "operator at the end of the line before. Where it was meant as a step of its own, the network would silently "
        "be another one.",
        "Write the parenthesis directly behind the operator, or put `|` between the two.",
        "block b(act = relu) {\n  in | act\n  (identity | identity)\n}\n",
    ),
    "E0109": CodeInfo(
        "too many errors",
        "After 50 errors the parser stops: the text is probably not a `.nas` file.",
        "Mend the first errors and try again.",
    ),
}

FILES = {
    "E0201": CodeInfo(
        "there is no such file",
        "The file named on the command line, or by an `import`, is not there. The path of an import counts from the "
        "directory of the file in which it stands.",
        "Mend the path.",
        'import "nowhere.nas"\n',
    ),
    "E0202": CodeInfo(
        "a file cannot be read",
        "The path names a directory, a device or a pipe, or the system does not allow the file to be read.",
        "Name a file that you may read.",
    ),
    "E0203": CodeInfo(
        "a file is not UTF-8 text",
        "`.nas` files are UTF-8. This one holds bytes that are not, at the line that is named.",
        "Save the file as UTF-8; a file of another kind cannot be used at all.",
    ),
    "E0204": CodeInfo(
        "a file is too large",
        "A file may have 1 MiB and 15000 words and signs; the largest one known has 8 KiB. The limit keeps a wrong or "
        "hostile file from using up the machine.",
        "Check that it is the right file; divide it by `import` if it is.",
    ),
    "E0205": CodeInfo(
        "an import from elsewhere",
        "A file imports only files beside the main file or in directories below, by a relative path. Symbolic "
        "links are followed before this is checked. Otherwise a file from a stranger could make nasc show lines of "
        "any file of the machine.",
        "Copy the file to where the main file is.",
        'import "../elsewhere.nas"\n',
    ),
    "E0206": CodeInfo(
        "an import of something else",
        "Only files whose names end in `.nas` can be imported, and a link must lead to such a file.",
        "Import a `.nas` file.",
        'import "weights.bin"\n',
    ),
    "E0207": CodeInfo(
        "imports in a circle",
        "The file imports, directly or by way of others, itself.",
        "Move what both need into a third file.",
    ),
    "E0208": CodeInfo(
        "too many imports",
        "A file may import 64 others, up to 16 within one another.",
        "Bring the blocks together in fewer files.",
    ),
    "E0210": CodeInfo(
        "two blocks of one name",
        "The file and all that it imports share their names, so each block must have its own. Only a block of the "
        "standard library may be replaced by one of the same name.",
        "Rename one of the two.",
        "block b { in }\nblock b { in | relu }\n",
    ),
    "E0211": CodeInfo(
        "a block with the name of a primitive operator",
        "Primitive operators, such as `conv2d` and `add`, are what every block is made of. A block of such a name "
        "would change what other blocks mean.",
        "Give the block another name.",
        "block relu { in }\n",
    ),
    "E0212": CodeInfo(
        "two spaces in one file",
        "A file denotes one set of networks, so it holds at most one `space` or `network`. Blocks, searches and "
        "targets may be as many as needed.",
        "Put the second one into a file of its own; both can import the blocks they share.",
        "space a { }\nspace b { }\n",
    ),
}

IMPORTED = {
    "E0220": CodeInfo(
        "a block string that cannot be imported",
        "`nasc import` reads block strings as timm has them, such as `ir_r2_k3_s2_e6_c24_se0.25`: a type of block, "
        "then tokens of a letter or two and a number. This one has a token that is unknown or wrong, lacks one, or "
        "stands for something that the language has no block for.",
        "Change the token as the help says, or write the layer by hand.",
    ),
}

CODES: dict[str, CodeInfo] = {**SYNTAX, **FILES, **IMPORTED, **MEANING}


def as_markdown() -> str:
    """Return the page of all codes."""
    head = "# Errors and warnings\n\nThis page is generated from the catalogue in `dsl/codes.py`.\n"
    return "\n".join([head, *(_entry(code, info) for code, info in sorted(CODES.items()))])


def _entry(code: str, info: CodeInfo) -> str:
    example = f"\n```nas\n{info.example.rstrip()}\n```\n" if info.example else ""
    return f"## {code}: {info.title}\n\n{info.explanation}\n{example}\n**Mend.** {info.mend}\n"
