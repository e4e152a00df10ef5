qos_profile_sensor_data = "best effort, depth 5"
