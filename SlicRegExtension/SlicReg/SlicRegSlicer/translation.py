"""``_`` marks text for translation. Slicer before 5.4 and the plain scene have no translator."""

try:
    from slicer.i18n import tr as _
except ImportError:

    def _(text: str) -> str:
        return text
