# What a machine is, as sections "==NAME" with their lines. POSIX sh without bashisms, for dash,
# BusyBox and Android's mksh; it only reads. $1: the folder whose free space counts.
say() { printf '==%s\n' "$1"; }
first() { for file in "$@"; do if [ -r "$file" ]; then cat "$file" && echo && return; fi; done; }
have() { command -v "$1" >/dev/null 2>&1; }

say uname; uname -s; uname -r; uname -m
say os_release; first /etc/os-release /usr/lib/os-release
say libc; getconf GNU_LIBC_VERSION; ls /lib/ld-musl-* /system/bin/linker /system/bin/linker64
say long_bit; getconf LONG_BIT
say termux; printf '%s\n' "${TERMUX_VERSION:-}"
say model; tr -d '\000' </proc/device-tree/model; echo
say cpuinfo; sed -n -E '/^(CPU part|CPU architecture|flags|model name)/p' /proc/cpuinfo | sort -u
say cores; getconf _NPROCESSORS_ONLN || nproc
say meminfo; sed -n -E '/^(MemTotal|MemAvailable):/p' /proc/meminfo
say swaps; cat /proc/swaps
say cgroups; cat /proc/cgroups
say controllers; cat /sys/fs/cgroup/cgroup.controllers
user=$(id -u)
say user_controllers
cat "/sys/fs/cgroup/user.slice/user-$user.slice/user@$user.service/cgroup.controllers"
say user; echo "$user"
say cmdline; cat /proc/cmdline
for file in /boot/firmware/cmdline.txt /boot/cmdline.txt; do
  # Newer systems leave a note in the old place that says where the file has gone.
  if [ -r "$file" ] && grep -q root= "$file"; then
    say cmdline_file; echo "$file"; cat "$file"; echo; break
  fi
done
say grub; ls /etc/default/grub
say governors; cat /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor | sort -u
say throttled
first /sys/devices/platform/soc/*firmware/get_throttled || vcgencmd get_throttled
say thermal
for zone in /sys/class/thermal/thermal_zone*; do
  [ -r "$zone/temp" ] && echo "$(cat "$zone/type") $(cat "$zone/temp")"
done
say loadavg; cat /proc/loadavg
say disk; df -Pk "${1:-.}" || df -k "${1:-.}"
say tools
for tool in apt-get dnf apk pkg pacman zypper sudo gcc vcgencmd systemd-run cpupower proot-distro; do
  have "$tool" && echo "$tool"
done
say pythons
for minor in 14 13 12 11 10 9 8 7; do
  have "python3.$minor" && echo "python3.$minor"
done
say home; printf '%s\n' "$HOME"
say end
exit 0
