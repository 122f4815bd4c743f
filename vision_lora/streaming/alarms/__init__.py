"""Alarms: from boxes in single pictures to one alarm a defect."""
