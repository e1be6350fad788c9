"""The alarm behind the epoch clock, in both its forms."""

from __future__ import annotations

import sys
import threading

import pytest

from trellis_host.engine.alarm import Alarm, ConditionAlarm, TimerAlarm

FORMS = [ConditionAlarm, *([TimerAlarm] if sys.platform == "linux" else [])]


@pytest.fixture(params=FORMS)
def alarm(request):
    made = request.param()
    yield made
    made.close()


def waiting(alarm: Alarm) -> threading.Thread:
    thread = threading.Thread(target=alarm.wait)
    thread.start()
    return thread


def test_it_goes_off_once_for_each_time_it_is_set(alarm):
    for _ in range(3):
        alarm.set(0.001)
        alarm.wait()
    thread = waiting(alarm)
    assert thread.is_alive()
    alarm.set(1e-9)
    thread.join()


def test_setting_it_earlier_wakes_who_waits_for_later(alarm):
    alarm.set(3600.0)
    thread = waiting(alarm)
    alarm.set(1e-9)
    thread.join()
