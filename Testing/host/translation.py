"""`slicer.i18n`: every text is its own translation.

Follows Slicer's ``Base/Python/slicer/i18n.py`` without a loaded translator.
"""


def translate(context, text):
    return text


def tr(text):
    return text
