"""The one error that a user can cause: a sentence that names the cause and the cure."""


class UserError(Exception):
    """Something the user gave is wrong; the text is one sentence shown as it is, without a traceback."""
