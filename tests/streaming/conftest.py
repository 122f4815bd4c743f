"""Programs that tests start on their own are no tests."""

collect_ignore = ["event_writer.py", "kill_loop.py", "rtsp_server.py", "segment_writer.py"]
