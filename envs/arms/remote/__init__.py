"""Arms and plans over websockets: messages, connections, the robot's side and the server's."""
