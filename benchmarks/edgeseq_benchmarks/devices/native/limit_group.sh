# Hard limits on a process of this board. POSIX sh without bashisms, for dash and BusyBox.
#   find OWNER                           prints `MECHANISM PATH [CPU_PATH]`, the best that works
#   make MECHANISM GROUP BYTES [CPU_GROUP QUOTA_US PERIOD_US]     prints `ok` or the refusal
#   read MECHANISM GROUP [CPU_GROUP]     prints what the group has counted, as `NAME NUMBER`
#   remove MECHANISM GROUP [CPU_GROUP]   ends what is inside and removes it; prints `ok`
# OWNER is the process that groups belong to: those of owners that are gone are removed.
verb=$1; shift
LC_ALL=C; export LC_ALL

clean() {
  for group in "$1"/edgeseq-*; do
    [ -d "$group" ] || continue
    owner=${group##*/edgeseq-}; owner=${owner%%-*}
    case $owner in '' | *[!0-9]*) continue ;; esac
    [ -d "/proc/$owner" ] || rmdir "$group" 2>/dev/null
  done
}

try() {
  clean "$1"
  mkdir "$1/edgeseq-$owner_pid-trial" 2>/dev/null && rmdir "$1/edgeseq-$owner_pid-trial"
}

find_mechanism() {
  owner_pid=$1 cpu=''
  while read -r _ point type options _; do
    [ "$type" = cgroup2 ] || continue
    grep -q -w memory "$point/cgroup.controllers" 2>/dev/null || continue
    for name in memory cpu; do
      grep -q -w "$name" "$point/cgroup.subtree_control" ||
        echo "+$name" 2>/dev/null >"$point/cgroup.subtree_control"
    done 2>/dev/null
    grep -q -w memory "$point/cgroup.subtree_control" && try "$point" || continue
    grep -q -w cpu "$point/cgroup.subtree_control" && cpu=$point
    printf 'cgroup-v2 %s %s\n' "$point" "$cpu"; return
  done </proc/mounts
  memory=''
  while read -r _ point type options _; do
    [ "$type" = cgroup ] || continue
    case ,$options, in *,memory,*) [ -e "$point/memory.limit_in_bytes" ] && try "$point" && memory=$point ;; esac
    case ,$options, in *,cpu,*) [ -w "$point" ] && cpu=$point ;; esac
  done </proc/mounts
  if [ -n "$memory" ]; then printf 'cgroup-v1 %s %s\n' "$memory" "$cpu"; return; fi
  user=$(id -u)
  scopes=/sys/fs/cgroup/user.slice/user-$user.slice/user@$user.service
  if grep -q -w memory "$scopes/cgroup.controllers" 2>/dev/null && command -v systemd-run >/dev/null; then
    grep -q -w cpu "$scopes/cgroup.controllers" && cpu=$scopes
    printf 'systemd %s %s\n' "$scopes" "$cpu"; return
  fi
  echo rlimit /
}

set_limit() { [ ! -e "$1" ] || echo "$2" >"$1"; }

make_group() {
  mechanism=$1 group=$2 bytes=$3 cpu=$4
  mkdir "$group" || return 1
  if [ "$mechanism" = cgroup-v2 ]; then
    echo "$bytes" >"$group/memory.max" || return 1
    set_limit "$group/memory.swap.max" 0
  else
    echo "$bytes" >"$group/memory.limit_in_bytes" || return 1
    set_limit "$group/memory.memsw.limit_in_bytes" "$bytes"
    set_limit "$group/memory.swappiness" 0
  fi
  [ -n "$cpu" ] || return 0
  [ -d "$cpu" ] || mkdir "$cpu" || return 1
  if [ "$mechanism" = cgroup-v2 ]; then echo "$5 $6" >"$cpu/cpu.max"; return; fi
  echo "$6" >"$cpu/cpu.cfs_period_us" && echo "$5" >"$cpu/cpu.cfs_quota_us"
}

# A unit of systemd is its group; it is gone with its process, and then its result is left.
read_group() {
  group=$2 cpu=$3
  if [ "$1" = systemd ]; then
    result=$(systemctl --user show --property=Result --value "$2" 2>/dev/null)
    if [ "$result" = oom-kill ]; then echo oom_kill 1; else echo oom_kill 0; fi
    path=$(systemctl --user show --property=ControlGroup --value "$2" 2>/dev/null)
    group=/sys/fs/cgroup$path cpu=$group
    [ -n "$path" ] || return 0
  fi
  cat "$group/memory.stat" "$group/memory.events" "$group/memory.oom_control" 2>/dev/null |
    grep -E '^(pgmajfault|oom_kill) '
  for file in "$group/memory.peak" "$group/memory.max_usage_in_bytes"; do
    [ -r "$file" ] && printf 'peak %s\n' "$(cat "$file")"
  done
  [ -n "$cpu" ] && cat "$cpu/cpu.stat" 2>/dev/null | grep -E '^throttled_(usec|time) '
  return 0
}

remove_group() {
  mechanism=$1 group=$2 cpu=$3
  if [ "$mechanism" = systemd ]; then
    systemctl --user stop "$group"; systemctl --user reset-failed "$group"; echo ok; return
  fi
  tries=0
  while [ -d "$group" ] || { [ -n "$cpu" ] && [ -d "$cpu" ]; }; do
    [ -e "$group/cgroup.kill" ] && echo 1 >"$group/cgroup.kill"
    for pid in $(cat "$group/cgroup.procs"); do kill -s KILL "$pid"; done
    # Version 1: the pages of its files would outlive the group and stay charged.
    [ -e "$group/memory.force_empty" ] && echo 0 >"$group/memory.force_empty"
    [ ! -d "$group" ] || rmdir "$group"
    [ -z "$cpu" ] || [ ! -d "$cpu" ] || rmdir "$cpu"
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || return 1
    [ ! -d "$group" ] || sleep 0.05 || sleep 1
  done
  echo ok
}

case $verb in
  find) find_mechanism "$1" ;;
  make) if make_group "$@"; then echo ok; else rmdir "$2" "$4" 2>/dev/null; fi 2>&1 ;;
  read) read_group "$@" ;;
  remove) remove_group "$@" 2>/dev/null ;;
esac
