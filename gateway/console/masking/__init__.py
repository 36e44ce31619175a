"""What of a message an operator may see without asking: fields that are on a list, and the shape of the rest. Pure.

Lists allow and never deny: a field that nobody thought of, a local segment, an extension is hidden. What is allowed
must also look harmless (short, of the characters that codes have): a text in a field for codes stays hidden as well.
"""

from gateway.console.masking.contents import Masked, Row, mask, reveal

__all__ = ["Masked", "Row", "mask", "reveal"]
