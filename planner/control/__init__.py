"""From plans to motion: controller, episode loop and the real-time runtime."""
