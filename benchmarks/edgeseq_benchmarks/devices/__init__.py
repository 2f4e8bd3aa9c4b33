"""Where a benchmark runs: this machine, a board over ssh, a phone over adb, an emulated board."""
