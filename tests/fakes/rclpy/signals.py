import enum


class SignalHandlerOptions(enum.Enum):
    ALL, NO, SIGINT, SIGTERM = 3, 0, 1, 2
