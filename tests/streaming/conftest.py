"""Programs that tests start on their own are no tests."""

collect_ignore = ["records/event_writer.py", "kill_loop.py", "rtsp_server.py", "records/segment_writer.py"]
