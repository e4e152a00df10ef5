from fake_robot import ROBOT


class ActionClient:
    def __init__(self, node, action_type, action_name: str) -> None:
        self._type = action_type

    def server_is_ready(self) -> bool:
        return not ROBOT.state.get("no gripper")

    def send_goal_async(self, goal, feedback_callback=None, goal_uuid=None):
        if not isinstance(goal, self._type.Goal):
            raise TypeError()
        ROBOT.enter("gripper", goal.command.position, goal.command.max_effort)
        ROBOT.aim_gripper(goal.command.position / 0.8)
