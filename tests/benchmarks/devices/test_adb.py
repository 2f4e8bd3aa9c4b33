"""`adb:SERIAL` over the real adb client, against a phone of our own that speaks its protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

from edgeseq.errors import DeviceError, InputError
from edgeseq_benchmarks.devices.adb import SCRATCH, AdbDevice
from edgeseq_benchmarks.devices.base import Device, DeviceLostError

from .adb_stand_in.client import private_adb
from .adb_stand_in.phone import Phone

pytestmark = pytest.mark.adb
STRANGE = "a b'c\"d;e $(touch hit) `touch hit` \n -f * \\ ü"
MakePhone = Callable[..., tuple[Phone, AdbDevice]]


@pytest.fixture(scope="module")
def adb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with private_adb(tmp_path_factory.mktemp("adb")) as programs:
        yield str(programs / "adb")


@pytest.fixture
def make_phone(adb: str, tmp_path: Path) -> Iterator[MakePhone]:
    """Makes phones; each has its device, not yet connected."""
    made: list[tuple[Phone, AdbDevice]] = []

    def make(**settings: object) -> tuple[Phone, AdbDevice]:
        phone = Phone(tmp_path / f"phone{len(made)}", **settings)  # type: ignore[arg-type]
        made.append((phone, AdbDevice(phone.serial, adb=(adb,))))
        return made[-1]

    yield make
    for phone, device in made:
        device.close()
        phone.close()


@pytest.fixture(params=["shell_v2", "old"])
def any_phone(make_phone: MakePhone, request: pytest.FixtureRequest) -> tuple[Phone, AdbDevice]:
    """A connected phone that sends exit codes by itself, and one that does not."""
    features = ("shell_v2", "stat_v2") if request.param == "shell_v2" else ()
    phone, device = make_phone(features=features)
    device.connect(timeout_s=10)
    return phone, device


def test_it_is_a_device(adb: str) -> None:
    device: Device = AdbDevice("emulator-5554", adb=(adb,))
    assert device.name == "adb:emulator-5554"
    assert device.emulated


def test_a_command_is_run_as_it_is_given(any_phone: tuple[Phone, AdbDevice]) -> None:
    phone, device = any_phone
    answer = device.run(("printf", "%s|", STRANGE, "-n", ""), timeout_s=10)
    assert answer.stdout.decode() == f"{STRANGE}|-n||"
    assert answer.returncode == 0
    assert not (phone.root / "hit").exists()


def test_exit_status_and_output_without_an_end(any_phone: tuple[Phone, AdbDevice]) -> None:
    _, device = any_phone
    answer = device.run(("sh", "-c", "printf no-line-end; exit 7"), timeout_s=10)
    assert (answer.returncode, answer.stdout) == (7, b"no-line-end")
    assert device.run(("no-such-program",), timeout_s=10).returncode == 127


def test_lines_come_while_the_command_runs(any_phone: tuple[Phone, AdbDevice]) -> None:
    _, device = any_phone
    lines: list[tuple[bytes, float]] = []
    script = "echo one; sleep 0.5; echo; printf 'two: EDGE'; exit 3"
    answer = device.run(
        ("sh", "-c", script),
        timeout_s=10,
        on_line=lambda line: lines.append((line, time.monotonic())),
    )
    assert [line for line, _ in lines] == [b"one", b"", b"two: EDGE"]
    assert lines[1][1] - lines[0][1] > 0.3
    assert (answer.returncode, answer.stdout) == (3, b"")


def test_input_and_stderr_stand_apart(make_phone: MakePhone) -> None:
    _, device = make_phone()
    device.connect(timeout_s=10)
    answer = device.run(("sh", "-c", "cat; echo said >&2"), timeout_s=10, stdin=b"given\n")
    assert (answer.stdout, answer.stderr) == (b"given\n", b"said\n")


def test_files_go_there_and_back_under_any_name(
    any_phone: tuple[Phone, AdbDevice], tmp_path: Path
) -> None:
    phone, device = any_phone
    content = bytes(range(256)) * 2000
    source = tmp_path / "-s ;$(touch hit)'\".bin"
    source.write_bytes(content)
    target = SCRATCH / 'it\'s; $(touch hit) "x", -y'
    device.put(source, target, timeout_s=20)
    assert (phone.scratch / target.name).read_bytes() == content
    back = tmp_path / "back ;x"
    device.get(target, back, timeout_s=20)
    assert back.read_bytes() == content
    assert [path.name for path in phone.scratch.iterdir()] == [target.name]
    assert not list(phone.root.rglob("hit"))


def test_what_cannot_be_copied_leaves_nothing(make_phone: MakePhone, tmp_path: Path) -> None:
    phone, device = make_phone(disk_bytes=1000)
    device.connect(timeout_s=10)
    (tmp_path / "large").write_bytes(bytes(5000))
    with pytest.raises(DeviceError, match=r"its storage is full.*free some space"):
        device.put(tmp_path / "large", SCRATCH / "large", timeout_s=10)
    assert not list(phone.scratch.iterdir())
    with pytest.raises(DeviceError, match="cannot be copied from it"):
        device.get(SCRATCH / "not-there", tmp_path / "got", timeout_s=10)
    assert not (tmp_path / "got").exists()
    with pytest.raises(InputError, match="is not a path on a phone"):
        device.put(tmp_path / "large", PurePosixPath("relative"), timeout_s=10)


def _sleeping(seconds: str) -> bool:
    """Whether a process of ours sleeps that long."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == b"sleep\0" + seconds.encode() + b"\0":
                return True
        except OSError:
            continue
    return False


def test_a_command_that_hangs_is_ended_on_the_phone(any_phone: tuple[Phone, AdbDevice]) -> None:
    _, device = any_phone
    with pytest.raises(DeviceLostError, match="did not end within 1 s"):
        device.run(("sh", "-c", "sleep 611 & sleep 612"), timeout_s=1)
    assert not _sleeping("611")
    assert not _sleeping("612")
    assert device.run(("echo", "still here"), timeout_s=10).stdout == b"still here\n"


def test_a_broken_connection_is_no_success(make_phone: MakePhone) -> None:
    phone, device = make_phone()
    device.connect(timeout_s=10)
    phone.unplug_at = b"half"
    with pytest.raises(DeviceLostError, match="connection broke") as caught:
        device.run(("sh", "-c", "echo half; sleep 613; echo whole"), timeout_s=10)
    assert caught.value.worth_retrying
    with pytest.raises(DeviceLostError):
        device.run(("true",), timeout_s=10)
    phone.plug_in()
    device.connect(timeout_s=10)
    assert device.run(("echo", "back"), timeout_s=10).stdout == b"back\n"
    # What could not be ended while it was away is ended when it is back.
    assert not _sleeping("613")


def test_unauthorized_says_what_to_do(make_phone: MakePhone) -> None:
    _, device = make_phone(authorized=False)
    with pytest.raises(DeviceLostError, match=r"not allowed this computer.*accept its question"):
        device.connect(timeout_s=3)


def test_a_phone_that_is_not_there_names_those_that_are(make_phone: MakePhone, adb: str) -> None:
    phone, device = make_phone()
    device.connect(timeout_s=10)
    absent = AdbDevice("R58M123ABC", adb=(adb,))
    with pytest.raises(DeviceLostError, match=rf"no such phone.*{phone.serial} \(device\)"):
        absent.connect(timeout_s=3)
    device.close()
    with pytest.raises(DeviceLostError, match=r"found none at all.*USB debugging"):
        absent.connect(timeout_s=3)


def test_two_phones_are_not_mistaken_for_each_other(make_phone: MakePhone) -> None:
    pairs = [make_phone(), make_phone()]
    for number, (phone, device) in enumerate(pairs):
        device.connect(timeout_s=10)
        (phone.scratch / f"phone-{number}").touch()
    for number, (_, device) in enumerate(pairs):
        listed = device.run(("ls", str(SCRATCH)), timeout_s=10).stdout
        assert listed == f"phone-{number}\n".encode()


@pytest.mark.parametrize("serial", ["", "-P5", "a b", "a;b", "$(x)", "a\nb", "é", "x" * 300])
def test_strange_serials_are_refused(serial: str) -> None:
    with pytest.raises(InputError, match="is not the serial number"):
        AdbDevice(serial)


def test_without_a_client_it_says_what_to_install() -> None:
    with pytest.raises(DeviceError, match=r"adb is not installed.*apt install adb"):
        AdbDevice("x", adb=("/no/such/adb",)).connect(timeout_s=3)


def test_an_emulator_is_known_by_its_properties(make_phone: MakePhone) -> None:
    _, device = make_phone(properties={"ro.kernel.qemu": "1"})
    assert not device.emulated
    device.connect(timeout_s=10)
    assert device.emulated


def test_an_interrupt_ends_the_command_on_the_phone(
    make_phone: MakePhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, device = make_phone()
    device.connect(timeout_s=10)

    def interrupt(line: bytes) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        device.run(("sh", "-c", "echo begun; sleep 614"), timeout_s=20, on_line=interrupt)
    assert not _sleeping("614")
