"""The one error class for anything a user can get wrong."""


class UserError(ValueError):
    """A mistake of the user's, told in one line: the value, the rule it breaks, the remedy.

    The command line prints it as ``vssl: error: VALUE: RULE. REMEDY`` and exits with code 2.
    """

    def __init__(self, value: object, rule: str = "", remedy: str = "") -> None:
        self.value, self.rule, self.remedy = value, rule, remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        if not self.rule:  # raised in a loader worker: torch makes it anew from the text of the worker's traceback
            last = str(self.value).strip().splitlines()[-1]
            return last.partition("Error: ")[2] or last
        text = f"{self.value}: {self.rule.rstrip('.')}."
        return f"{text} {self.remedy}" if self.remedy else text

    def __reduce__(self) -> tuple[type["UserError"], tuple[object, str, str]]:
        # a loader worker sends its error to the main process pickled
        return type(self), (self.value, self.rule, self.remedy)


def user_error(error: BaseException | None) -> UserError | None:
    """The mistake of the user's behind an error, where one of ours caused it."""
    while error is not None:
        if isinstance(error, UserError):
            return error
        error = error.__cause__ or error.__context__
    return None
