"""Describes a text: how many words, which ones, in what mood.

It knows nothing of HTTP, nor who calls it, nor from which machine.
"""

import re
from collections import Counter

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import words

MOST_CHARACTERS = 20_000


class Words(exports.Words):
    def analyse(self, text: str) -> words.Report:
        if len(text) > MOST_CHARACTERS:
            raise Err(words.Problem_TooLong(MOST_CHARACTERS))
        found = re.findall(r"\w+", text.lower())
        if not found:
            raise Err(words.Problem_NoWords())
        common = [words.WordCount(word, count) for word, count in Counter(found).most_common()[:3]]
        return words.Report(len(found), max(found, key=len), common, mood(text))


def mood(text: str) -> words.Mood:
    """How the text ends."""
    marks = len(text) - len(text.rstrip("!"))
    if marks:
        return words.Mood_Excited(marks)
    marks = len(text) - len(text.rstrip("?"))
    return words.Mood_Asking(marks) if marks else words.Mood_Plain()
