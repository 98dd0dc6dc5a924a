"""Exceptions that cross room borders. Everything a user can cause ends in one of these."""


class InputError(ValueError):
    """Bad input. The message is one sentence that says what is wrong and what to do.

    The command line prints it and exits with code 2; the panels show it as it is.
    """


class Cancelled(Exception):
    """The user asked to stop; raised from inside long work as soon as it is noticed."""
