"""The text socket of Robotiq's URCap: GET and SET of variables, one line each."""

import socket
import threading

from fake_robot import ROBOT


class RobotiqServer:
    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.variables = {"STA": 3, "GTO": 0, "SPE": 0, "FOR": 0}
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for end in (self._listener, *self._connections):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            for line in connection.makefile("r"):
                connection.sendall(self._answer(line.split()).encode())
        except OSError:
            return

    def _answer(self, words: list[str]) -> str:
        if words[0] == "GET":
            ROBOT.advance()
            position = round(3 + 225 * ROBOT.closedness)
            return f"{words[1]} {position if words[1] == 'POS' else self.variables[words[1]]}\n"
        for name, value in zip(words[1::2], words[2::2], strict=True):
            self.variables[name] = int(value)
            if name == "POS":
                ROBOT.enter("gripper", int(value))
                ROBOT.aim_gripper((int(value) - 3) / 225)
        return "ack"
