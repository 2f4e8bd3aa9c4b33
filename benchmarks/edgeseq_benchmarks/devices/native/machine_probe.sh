# What a machine is, and how busy: its files below /proc and /sys, each after a line `MARK PATH`.
# POSIX sh without bashisms, for dash and BusyBox; it only reads. $1: the mark; $2: `all` for what
# does not change as well.
mark=$1
begin() { printf '\n%s %s\n' "$mark" "$1"; }
copy() {
  for file in "$@"; do
    if [ -r "$file" ] && [ -f "$file" ]; then begin "$file"; cat "$file" 2>/dev/null; fi
  done
}

if [ "$2" = all ]; then
  begin /names; uname -m; uname -n; uname -s; uname -r
  getconf _NPROCESSORS_ONLN 2>/dev/null || nproc
  getconf CLK_TCK 2>/dev/null || echo 100
  copy /proc/cpuinfo /proc/device-tree/model /proc/device-tree/compatible
  copy /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_name
  copy /sys/devices/system/clocksource/clocksource0/available_clocksource /sys/class/ptp/*/clock_name
  if [ -r /etc/os-release ]; then begin /etc/os-release; cat /etc/os-release; fi
fi
copy /proc/uptime /proc/stat /proc/meminfo
copy /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor
copy /sys/class/thermal/thermal_zone*/type /sys/class/thermal/thermal_zone*/temp
begin /sys/devices/platform/soc/edgeseq:firmware/get_throttled
cat /sys/devices/platform/soc/*firmware/get_throttled 2>/dev/null ||
  { vcgencmd get_throttled 2>/dev/null | sed 's/.*=//'; }
begin /runners
cat /proc/[0-9]*/stat 2>/dev/null | grep -F '(edgeseq-runner)'
begin /end
