"""Recordings on disk, one format a file: LeRobot, raw DROID, robomimic."""
