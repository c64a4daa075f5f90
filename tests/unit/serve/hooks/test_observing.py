import logging
import textwrap
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from patience import PATIENCE, until
from tidemill.errors import SettingsError
from tidemill.ledger.record import Answered, Form, Label, Role
from tidemill.serve.hooks import observing
from tidemill.serve.hooks.observer import Observer, Refused, Swapped
from tidemill.serve.hooks.observing import Observers, load


def label(number: int) -> Label:
    return Label(id=f"a-{number}", label="x", at=number)


def answered(name: str, latency: int = 1) -> Answered:
    return Answered(name, 0, "1", Role.CHAMPION, 1.0, latency, Form.NONE, b"", None, {})


class Everything(Observer):
    def __init__(self) -> None:
        self.seen, self.threads, self.closed = [], set(), False

    def _see(self, event: Any) -> None:
        self.seen.append(event)
        self.threads.add(threading.current_thread())

    answered = labelled = swapped = refused = _see

    def close(self) -> None:
        self.closed = True


class Gated(Observer):
    """Holds its thread until the test opens the gate."""

    def __init__(self) -> None:
        self.seen, self.entered, self.gate, self.closed = [], threading.Event(), threading.Event(), False

    def labelled(self, event: Label) -> None:
        self.entered.set()
        self.gate.wait(PATIENCE)
        self.seen.append(event.at)

    def close(self) -> None:
        self.closed = True


class Active(Observer):
    def __init__(self) -> None:
        self.gate, self.entered, self.count = threading.Event(), threading.Event(), 0

    def answered(self, event: Answered) -> None:
        self.entered.set()
        self.gate.wait(PATIENCE)
        self.count += 1


class Failing(Observer):
    def labelled(self, event: Label) -> None:
        raise (ValueError, SystemExit)[event.at % 2](f"no {event.at}")


class OnlySwaps(Observer):
    def __init__(self) -> None:
        self.seen = []

    def swapped(self, event: Swapped) -> None:
        self.seen.append(event)


def test_every_event_arrives_in_order_on_another_thread_while_the_replica_runs() -> None:
    observer = Everything()
    observers = Observers([observer])
    events = [answered("a"), label(1), Swapped("champion", "1", "2", 0.1), Refused("request", "overload"), label(2)]
    for event in events:
        observers.emit(event)
    until(lambda: observer.seen == events)
    assert not observer.closed
    assert threading.current_thread() not in observer.threads and len(observer.threads) == 1
    observers.close()
    assert observer.closed and observers.dropped == {"Everything": 0} and observers.failures == {"Everything": 0}


def test_closing_delivers_what_waits() -> None:
    observer = Everything()
    observers = Observers([observer])
    for number in range(5000):
        observers.emit(label(number))
    observers.close()
    assert [event.at for event in observer.seen] == list(range(5000)) and observer.closed
    observers.emit(label(0))
    assert len(observer.seen) == 5000, "nothing is taken after the end"


def test_a_slow_observer_loses_its_own_events_only() -> None:
    slow, quick = Gated(), Everything()
    observers = Observers([slow, quick], capacity=20)
    observers.emit(label(0))
    assert slow.entered.wait(PATIENCE)
    for ten in (range(1, 11), range(11, 21), range(21, 31)):
        for number in ten:
            observers.emit(label(number))
        until(lambda ten=ten: len(quick.seen) == ten.stop)
    assert observers.dropped == {"Gated": 10, "Everything": 0}
    slow.gate.set()
    observers.close()
    assert slow.seen == list(range(21)), "the first ones were kept, in order"


def test_large_requests_wait_in_bounded_room() -> None:
    held = Active()
    observers = Observers([held], room=1000)
    large = msgspec.structs.replace(answered("q"), inputs=bytes(300))
    observers.emit(large)
    assert held.entered.wait(PATIENCE)
    for _ in range(5):
        observers.emit(large)
    assert observers.dropped == {"Active": 2}
    held.gate.set()
    until(lambda: held.count == 4)
    for _ in range(3):
        observers.emit(large)
    until(lambda: held.count == 7)  # "there is room again"
    observers.close()


def test_one_that_hangs_holds_nobody_up_for_longer_than_the_limit() -> None:
    hanging, other = Gated(), Everything()
    observers = Observers([hanging, other])
    for number in range(5):
        observers.emit(label(number))
    assert hanging.entered.wait(PATIENCE)
    observers.close(seconds=0.2)  # it would wait for the gate otherwise
    assert not hanging.gate.is_set() and other.closed
    assert observers.dropped == {"Gated": 4, "Everything": 0} and hanging.seen == []
    hanging.gate.set()
    until(lambda: hanging.closed)
    assert hanging.seen == [0], "what counts as dropped is dropped"


def test_failures_are_counted_and_logged_once_a_while(caplog: pytest.LogCaptureFixture) -> None:
    good, bad = Everything(), Failing()
    observers = Observers([bad, good])
    with caplog.at_level(logging.ERROR, logger=observing.__name__):
        for number in range(100):
            observers.emit(label(number))
        observers.close()
    assert observers.failures == {"Failing": 100, "Everything": 0} and len(good.seen) == 100
    (message,) = caplog.messages
    assert message == "Observer Failing failed (1 so far); answers are not affected"
    assert "ValueError: no 0" in caplog.text


def test_a_failing_close_is_counted() -> None:
    class Bad(Observer):
        def close(self) -> None:
            raise OSError("gone")

    observers = Observers([Bad()])
    observers.close()
    assert observers.failures == {"Bad": 1}


def test_only_what_an_observer_overrides_waits_for_it() -> None:
    observer = OnlySwaps()
    observers = Observers([observer], capacity=2)
    for number in range(100):
        observers.emit(label(number))
    swap = Swapped("champion", None, "1", 0.1)
    observers.emit(swap)
    observers.close()
    assert observer.seen == [swap] and observers.dropped == {"OnlySwaps": 0}


def test_without_observers_emit_is_the_empty_function() -> None:
    for idle in (Observers([]), Observers([Observer()])):
        assert idle.emit is observing._nothing
        assert idle.emit(label(1)) is None
        idle.close()


def test_two_of_one_class_are_told_apart() -> None:
    observers = Observers([Failing(), Everything(), Failing()])
    observers.emit(label(0))
    observers.close()
    assert observers.failures == {"Failing": 1, "Everything": 0, "Failing-2": 1}


def test_what_is_no_event_is_passed_over() -> None:
    observers = Observers([Everything()])
    observers.emit("text")
    observers.close()
    assert observers.failures == {"Everything": 0}


def test_the_documented_observer_works(tmp_path: Path) -> None:
    code = observing.__doc__.split("\n\n", 2)[2]
    (tmp_path / "slow.py").write_text(textwrap.dedent(code))
    observer = load(f"{tmp_path}/slow.py:Slow", path=str(tmp_path / "slow.txt"), milliseconds=5)
    observers = Observers([observer])
    observers.emit(answered("quick", latency=4_000))
    observers.emit(answered("slow", latency=6_000))
    observers.close()
    assert (tmp_path / "slow.txt").read_text() == "slow 6000\n" and observers.failures == {"Slow": 0}


def test_an_observer_is_loaded_by_module() -> None:
    assert type(load("tidemill.serve.hooks.observer:Observer")) is Observer


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("Slow", "named as package.module:Class or path/to/file.py:Class. Got: 'Slow'"),
        (":Slow", "Got: ':Slow'"),
        ("tidemill.serve.hooks.observer:", "named as"),
        ("tidemill.serve.hooks.observer:a b", "named as"),
        ("no_such_module:Slow", "can be imported. Got: no_such_module:Slow: ModuleNotFoundError"),
        (".relative:Slow", "can be imported. Got: .relative:Slow: TypeError"),
        ("nowhere/x.py:Slow", "FileNotFoundError: no file nowhere/x.py"),
        ("tidemill.serve.hooks.observer:Observr", "has no Observr. Remedy: did you mean Observer?"),
        ("tidemill.serve.hooks.observer:Zzz", "has no Zzz. Remedy: correct the class"),
        (
            "tidemill.serve.hooks.observer:Refused",
            "is a subclass of tidemill.serve.hooks.observer.Observer. Got: tidemill.serve.hooks.o",
        ),
        ("tidemill.serve.hooks.observing:LOG", "Remedy: write class LOG(Observer)"),
        ("{files}/broken.py:Slow", "broken.py:Slow: ZeroDivisionError: division by zero"),
        ("{files}/broken2.py:Slow", "SyntaxError"),
        ("{files}/choosy.py:Choosy", "can be made from its options. Got: "),
        ("{files}/choosy.py:Choosy", "with no options: TypeError: "),
    ],
)
def test_what_cannot_be_loaded_is_named(spec: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "broken2.py").write_text("class")
    (tmp_path / "choosy.py").write_text(
        "from tidemill.serve.hooks.observer import Observer\n"
        "class Choosy(Observer):\n"
        "    def __init__(self, level):\n"
        "        self.level = level\n"
    )
    with pytest.raises(SettingsError) as caught:
        load(spec.replace("{files}", str(tmp_path)))
    assert text in str(caught.value)


def test_options_of_a_wrong_name_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"with \['colour'\]: TypeError"):
        load("tidemill.serve.hooks.observer:Observer", colour="red")
