"""Text that Qt shows as it is: names of files, models and segments may look like HTML.

What Qt takes for HTML it draws as such: a name could hide words, or have a picture loaded from
another computer. Labels have the text format PlainText instead; tool tips cannot.
"""

from __future__ import annotations

import html


def as_tip(text: str) -> str:
    """Return what a tool tip must be given to show `text`; without a `<` Qt shows it as it is."""
    if "<" not in text:
        return text
    lines = html.escape(text).splitlines()
    return f"<qt>{'<br>'.join(lines)}</qt>"
