"""Driving a real arm to goal photographs: goals, keys, views, results and the plan server."""
