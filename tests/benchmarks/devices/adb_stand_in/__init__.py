"""A phone for tests: the device side of adb's wire protocol, over TCP on loopback."""
