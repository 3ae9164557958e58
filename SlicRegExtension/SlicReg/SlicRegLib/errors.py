"""The one kind of error that a user can cause: a sentence with cause and cure."""


class UserError(Exception):
    """Something that the user gave is wrong. The text is one sentence, shown as it is, without a traceback."""


def refuse(what: str, problems: list[tuple[bool, str]]) -> None:
    """Raise UserError "WHAT cannot start: ..." with the texts of all (condition, text) whose condition holds."""
    texts = [text for holds, text in problems if holds]
    if texts:
        raise UserError(f"{what} cannot start: {'; '.join(texts)}.")


def one_sentence(error: Exception) -> str:
    """A `UserError`'s own text; for an `OSError` which file and why."""
    if isinstance(error, OSError):
        return f"{error.filename or 'A file'} cannot be read or written ({error.strerror or error})."
    return str(error)
