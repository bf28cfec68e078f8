"""What every test may count on."""

import signal


def pytest_configure():
    """Ctrl-C ends what tests start, also where they run in the background of a shell, which ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
