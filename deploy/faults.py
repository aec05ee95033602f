"""What stops a command, said in one line. Settings that do not add up are `SettingsFault`."""

from schema.errors import HooklineError


class StartFault(HooklineError):
    """Something does not start or answer; the message says what, and what to do, in one line."""

    code = "start"
